"""What each worker process does for batches, beside running their rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from models import Batch, BatchStatus
from worker.batch.dispatch import Dispatcher
from worker.batch.reading import Reading
from worker.batch.tending import Tending
from worker.batch.writing import Writing
from worker.errors import StorageAway, StoreAway
from worker.store import Intake

logger = logging.getLogger(__name__)


class Batches:
    """Tends, reads in, writes and dispatches, whenever somebody says that there may be need.

    Any number of processes may do so: the database says whose turn it is.
    """

    def __init__(
        self,
        intake: Intake,
        tending: Tending,
        reading: Reading,
        writing: Writing,
        lease_s: float,
    ) -> None:
        self._intake = intake
        self._tending = tending
        self._reading = reading
        self._writing = writing
        self._lease_s = lease_s
        self._asked = asyncio.Event()
        self.dispatcher: Dispatcher | None = None

    def look(self) -> None:
        """Look soon after all batches."""
        self._asked.set()

    async def run(self) -> None:
        """Look after batches until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._turn()
            except (StoreAway, StorageAway) as away:
                logger.warning("batches wait: %s", away)
            except Exception:  # not even a fault of ours may end a process that streams
                logger.exception("batches wait for the next turn")

    async def _turn(self) -> None:
        await self._tending.turn()
        while (batch := await self._intake.take(self._lease_s)) is not None:
            await self._work(batch)
            await self._tending.turn()
        if self.dispatcher is not None:
            self.dispatcher.refill()

    async def _work(self, batch: Batch) -> None:
        """Do what a batch was taken for; left undone, it is others' at once."""
        work: Callable[[Batch], Awaitable[None]] = self._writing.run
        if batch.status == BatchStatus.VALIDATING:
            work = self._reading.run
        try:
            await work(batch)
        except BaseException:
            await self._intake.leave(batch)
            raise
