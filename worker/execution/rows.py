"""Several bulk jobs that came with one wake-up: run together, as the process has slots for them."""

import asyncio
import time
from collections.abc import Sequence

from worker.execution.execution import Execution
from worker.leases import Leases

# A turn of the loop that takes no longer has no crowd in it.
QUICK_S = 0.005


class Rows:
    """Runs bulk jobs, at most as many at a time as the process is ready for."""

    def __init__(self, execution: Execution, leases: Leases) -> None:
        self._execution = execution
        self._leases = leases
        self._running = 0
        self._freed = asyncio.Condition()
        self._beginning = asyncio.Lock()

    async def run(self, ids: Sequence[str]) -> bool:
        """Run the jobs to their ends, or give them back.

        Returns:
            Whether another process is to run one of them, because this one ends.

        Raises:
            StoreAway: one could not be claimed; the others have been run.
        """
        ended = await asyncio.gather(*map(self._run, ids), return_exceptions=True)
        for each in ended:
            if isinstance(each, BaseException):
                raise each
        return any(ended)

    async def _run(self, id: str) -> bool:
        async with self._freed:
            await self._freed.wait_for(self._has_room)
            self._running += 1
        try:
            await self._quiet()
            return await self._execution.run(id, patient=True)
        finally:
            async with self._freed:
                self._running -= 1
                if self._leases.draining:  # all of them are to find out
                    self._freed.notify_all()
                else:
                    self._freed.notify()

    async def _quiet(self) -> None:
        """Wait until the loop is quick, one row after the other.

        Else they would all begin at once, and a job that is watched would wait behind them at
        each of its steps.
        """
        async with self._beginning:
            while not self._leases.draining:
                began = time.perf_counter()
                await asyncio.sleep(0)
                if time.perf_counter() - began < QUICK_S:
                    return
                await asyncio.sleep(QUICK_S)

    def _has_room(self) -> bool:
        return self._running < max(self._leases.bulk_slots, 1) or self._leases.draining
