"""`run` and `follow`: a job's output as it comes."""

import asyncio
from concurrent.futures import Future

from worker import settings
from worker.cli.document import Request, document
from worker.cli.embedded import joining_worker
from worker.engines import Membership
from worker.logs import log_as_command

SIMULATED = "NO UPSTREAM IS CONFIGURED: the answer is made up by the bundled simulator"


def run(request: Request, *, json: bool) -> int:
    """Submit the request and stream its answer; the exit code.

    Raises:
        DeltaworksError: it could not be submitted.
    """
    asked = document(request)
    log_as_command()
    chosen = settings.load()
    # A worker takes as long to start as everything else here: both at once.
    joining = joining_worker(chosen) if chosen.embedded_redis else None
    return asyncio.run(_run(asked, joining, json))


def follow(job: str, after: str | None, *, json: bool) -> int:
    """Stream the job's output from the cursor on; the exit code.

    Raises:
        DeltaworksError: there is no such job, or no such cursor.
    """
    log_as_command()
    return asyncio.run(_follow(job, after, json))


async def _run(asked: dict[str, object], joining: "Future[Membership] | None", json: bool) -> int:
    from worker.cli.jobs import with_model
    from worker.cli.watch import Watch, view
    from worker.runtime import open_client_runtime

    async with open_client_runtime() as client:
        seen = view(json)
        asked = await with_model(client, asked)
        client.submission.validate(asked)
        if client.catalog.simulated:
            seen.note(SIMULATED)
        if joining is not None:
            # Before the job is there: a worker with other settings would run it in its own way.
            await asyncio.wrap_future(joining)
        job = await client.submission.submit(asked)
        return await Watch(client, job, seen, embedded=joining is not None).run()


async def _follow(id: str, after: str | None, json: bool) -> int:
    from models import JobState
    from worker.app import wake
    from worker.channel.events import START, Cursor
    from worker.cli.watch import Watch, view
    from worker.runtime import open_client_runtime

    cursor = START if after is None else Cursor.parse(after)
    async with open_client_runtime() as client:
        job = await client.store.jobs.get(id)
        embedded = client.settings.embedded_redis and not JobState(job.state).terminal
        if embedded:
            await asyncio.wrap_future(joining_worker(client.settings))
            # The private Redis that had its wake-up may have ended with its last user.
            await wake(job.id, job.lane)
        return await Watch(client, job, view(json), embedded=embedded).run(cursor)
