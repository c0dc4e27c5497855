"""Deltaworks for Python programs that reach its database and Redis themselves.

from worker import connect, submit

job = submit({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]})

async with connect() as deltaworks:
    async for event in deltaworks.follow(job["id"]):
        ...
"""

import atexit
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache

from worker.cancellation import cancel
from worker.channel.events import START, ChannelEvent, Cursor
from worker.job_object import job_object, live_job_object
from worker.loop import ProcessLoop
from worker.runtime import Client, open_client_runtime


class Deltaworks:
    """Submits, looks up, follows and cancels jobs; obtained from `connect`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def submit(self, request: dict[str, object], **fields: object) -> dict[str, object]:
        """Queue a chat-completions body as a job.

        Args:
            request: the body; `stream` need not be given, every job is streamed.
            fields: the other fields of a job request: `id`, `idempotency_key`, `lane`,
                `scheduled_at`, `deadline_at`, `metadata`, `webhook`.

        Returns:
            The job object. Nothing waits for the job to run.

        Raises:
            InvalidRequest: names the field at fault.
            Conflict: the id or idempotency key belongs to another request.
        """
        given = {name: value for name, value in fields.items() if value is not None}
        return job_object(await self._client.submission.submit({"request": request, **given}))

    def follow(self, id: str, after: str | None = None) -> AsyncIterator[ChannelEvent]:
        """The job's events beyond the cursor `after` (an event's id), to its end.

        Raises:
            JobNotFound: no job has this id.
            InvalidCursor: the cursor is malformed, or beyond what the job has published.
        """
        cursor = START if after is None else Cursor.parse(after)
        return self._client.follower.follow(id, cursor)

    async def get(self, id: str) -> dict[str, object]:
        """The job object, with the text so far while it runs.

        Raises:
            JobNotFound: no job has this id.
        """
        return await live_job_object(await self._client.store.jobs.get(id), self._client.log)

    async def cancel(self, id: str) -> dict[str, object]:
        """Cancel the job unless it has ended; the job object says which.

        Raises:
            JobNotFound: no job has this id.
        """
        client = self._client
        job, _ = await cancel(id, client.store.jobs, client.log, client.settings, client.catalog)
        return job_object(job)


@asynccontextmanager
async def connect() -> AsyncIterator[Deltaworks]:
    """Deltaworks on the running loop, by this process's settings.

    Raises:
        ConfigurationError, EngineFailed, SchemaOutdated: what is configured does not work.
    """
    async with open_client_runtime() as client:
        yield Deltaworks(client)


def submit(request: dict[str, object], **fields: object) -> dict[str, object]:
    """`Deltaworks.submit` for programs without an event loop. May be called from any thread."""
    loop, deltaworks = _process()
    return loop.run(deltaworks.submit(request, **fields))


@cache
def _process() -> tuple[ProcessLoop, Deltaworks]:
    loop = ProcessLoop()
    connection = connect()
    deltaworks = loop.run(connection.__aenter__())
    atexit.register(lambda: loop.run(connection.__aexit__(None, None, None)))
    return loop, deltaworks
