"""Retention: what is older than the policy keeps is removed, a little at each sweep.

Of a job its attempts and its idempotency key go with it; of a batch its rows and the files of its
results. Other files end by a moment of their own (see `worker.batch`), logs in Redis by theirs.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from worker.settings import Settings
from worker.store import Store
from worker.turns import Turns

logger = logging.getLogger(__name__)

# Rows that one statement removes, and batches that one looks at.
PORTION, BATCHES = 500, 20
# How long one turn may take; what is left waits for the next sweep.
TURN_S = 2.0


class Retention:
    """Removes whenever the sweep comes by. Any number of processes may do so.

    After each portion it rests as long as that took: at least half of the time the database is
    the jobs'.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._retention = store.retention
        self._keep_jobs_s = settings.keep_jobs_s
        self._keep_batches_s = settings.keep_batches_s
        self._turns = Turns(self.turn, "nothing is removed")

    def look(self) -> None:
        """Look soon for what is to be removed."""
        self._turns.ask()

    async def run(self) -> None:
        """Remove what is to be removed whenever asked to, until cancelled."""
        await self._turns.run()

    async def turn(self) -> int:
        """Remove for a while; how many jobs went, rows of batches among them."""
        over = asyncio.get_running_loop().time() + TURN_S
        removed = 0
        if (keep_s := self._keep_jobs_s) is not None:
            remove = self._retention.remove_jobs
            removed += await self._until(over, lambda: remove(keep_s, PORTION))
        if self._keep_batches_s is not None:
            await self._retention.forget_batches(self._keep_batches_s, BATCHES)
        # Whatever the policy says by now, what has begun to go goes.
        for batch in await self._retention.forgotten(BATCHES):
            removed += await self._remove(batch, over)
        if removed:
            logger.info("removed %d jobs that were kept for long enough", removed)
        return removed

    async def _remove(self, batch: str, over: float) -> int:
        rows = await self._until(over, lambda: self._retention.remove_rows(batch, PORTION))
        await self._retention.remove_batch(batch)
        return rows

    async def _until(self, over: float, remove: Callable[[], Awaitable[int]]) -> int:
        """Remove portion after portion while there are any and there is time; how many rows."""
        loop, removed = asyncio.get_running_loop(), 0
        while (began := loop.time()) < over:
            found = await remove()
            removed += found
            if found < PORTION:
                break
            await asyncio.sleep(loop.time() - began)
        return removed
