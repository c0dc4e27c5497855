"""Asking the database for jobs: one statement for all readers of a process that ask at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from models import Job
from worker.errors import JobNotFound

# How long a question waits for others to go with it.
GATHER_S = 0.005

Many = Callable[[Iterable[str]], Awaitable[Mapping[str, Job]]]


class Inquiry:
    """Gathers the questions of many readers. `many` looks jobs up by id."""

    def __init__(self, many: Many) -> None:
        self._many = many
        self._asked: dict[str, asyncio.Future[Job]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def job(self, id: str) -> Job:
        """The job as its row stands now.

        Raises:
            JobNotFound: no job has this id.
        """
        if id not in self._asked:
            self._asked[id] = asyncio.get_running_loop().create_future()
            if len(self._asked) == 1:
                task = asyncio.create_task(self._answer())
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
        return await asyncio.shield(self._asked[id])

    async def _answer(self) -> None:
        await asyncio.sleep(GATHER_S)
        asked, self._asked = self._asked, {}
        try:
            found = await self._many(asked)
        except Exception as error:  # belongs to those who asked
            for future in asked.values():
                future.set_exception(error)
                future.exception()
            return
        for id, future in asked.items():
            if id in found:
                future.set_result(found[id])
            else:
                future.set_exception(JobNotFound(f"no job has the id {id!r}"))
                future.exception()
