"""Asking the database for jobs: one statement at a time, for all readers of a process.

Who asks while a statement runs goes with the next one: alone nobody waits for others, and a
thousand who come at once, as after a restart, cost a few statements.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from itertools import islice

from models import Job
from worker.errors import JobNotFound

# Rows hold whole conversations: so many are fetched by one statement at most.
MOST_JOBS = 200

Many = Callable[[Iterable[str]], Awaitable[Mapping[str, Job]]]


class Inquiry:
    """Gathers the questions of many readers. `many` looks jobs up by id."""

    def __init__(self, many: Many) -> None:
        self._many = many
        self._asked: dict[str, asyncio.Future[Job]] = {}
        self._answering: asyncio.Task[None] | None = None

    async def job(self, id: str, tenant: str | None = None) -> Job:
        """The job as its row stands now; for a tenant, only if it is the tenant's own.

        Raises:
            JobNotFound: no job has this id, or none that is to be seen.
        """
        if id not in self._asked:
            self._asked[id] = asyncio.get_running_loop().create_future()
        if self._answering is None:
            self._answering = asyncio.create_task(self._answer_all())
        job = await asyncio.shield(self._asked[id])
        if tenant not in (None, job.tenant):
            raise _absent(id)
        return job

    async def _answer_all(self) -> None:
        try:
            while self._asked:
                ids = list(islice(self._asked, MOST_JOBS))
                await self._answer({id: self._asked.pop(id) for id in ids})
        finally:
            self._answering = None

    async def _answer(self, asked: Mapping[str, asyncio.Future[Job]]) -> None:
        try:
            found = await self._many(asked)
        except Exception as error:  # belongs to those who asked
            for future in asked.values():
                _fail(future, error)
            return
        for id, future in asked.items():
            if id in found:
                future.set_result(found[id])
            else:
                _fail(future, _absent(id))


def _absent(id: str) -> JobNotFound:
    return JobNotFound(f"no job has the id {id!r}")


def _fail(future: asyncio.Future[Job], error: Exception) -> None:
    future.set_exception(error)
    future.exception()  # whoever asked may have left
