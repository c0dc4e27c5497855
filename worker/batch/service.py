"""What each worker process does for batches, beside running their rows."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from models import Batch, BatchStatus
from worker.batch.dispatch import Dispatcher, WakeRows
from worker.batch.limits import PauseReason
from worker.batch.reading import Reading
from worker.batch.tending import Tending
from worker.batch.writing import Writing
from worker.catalog import Catalog
from worker.channel.log import Log
from worker.errors import StorageAway, StoreAway, UpstreamError
from worker.files import Storage, in_thread
from worker.settings import Settings
from worker.store import Store
from worker.turns import Turns

logger = logging.getLogger(__name__)

# Expired files that one turn removes.
FILES = 100
# A batch that cannot be worked at is left alone for so long: others are not to wait for it.
AGAIN_S = 15.0
# How often in the time of a lease it is renewed.
RENEWALS = 3


class Batches:
    """Tends, reads in, writes and dispatches, whenever somebody says that there may be need.

    Any number of processes may do so: the database says whose turn it is.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        storage: Storage,
        catalog: Catalog,
        settings: Settings,
        wake: WakeRows,
    ) -> None:
        self._store = store
        self._storage = storage
        self._lease_s = settings.lease_s
        self._tending = Tending(store, log, catalog, settings)
        self._reading = Reading(store.intake, storage, catalog, settings)
        self._writing = Writing(store, storage, settings)
        # Each in a loop of its own: what is cancelled does not wait for a long file to be read.
        self._tends = Turns(self._tend, "batches wait")
        self._works = Turns(self._work_off, "batches are neither read in nor written")
        self._dispatcher = Dispatcher(store, wake, self.look)

    def look(self) -> None:
        """Look soon after all batches."""
        self._tends.ask()
        self._works.ask()

    def refill(self) -> None:
        """A bulk job has ended: release soon what there is room for."""
        self._dispatcher.refill()

    async def suspended(self, id: str, error: UpstreamError, for_s: float) -> None:
        """Nothing serves a row of the batch for so many seconds: its others need not find out."""
        until = datetime.now(UTC) + timedelta(seconds=for_s)
        try:
            new = await self._store.batches.pause(id, PauseReason.SUSPENDED, error.message, until)
        except StoreAway:
            return  # the next row that meets the suspension says it again
        if new:
            logger.warning("batch %s: paused until %s: %s", id, until, error)

    async def run(self) -> None:
        """Look after batches, and dispatch, until cancelled."""
        async with asyncio.TaskGroup() as running:
            running.create_task(self._dispatcher.run())
            running.create_task(self._tends.run())
            running.create_task(self._works.run())

    async def _tend(self) -> None:
        await self._tending.turn()
        self.refill()
        self._works.ask()  # of some the last row may have ended

    async def _work_off(self) -> None:
        """Do what takes long, one batch after the other, until nothing is left to be taken."""
        while (batch := await self._store.intake.take(self._lease_s)) is not None:
            await self._work(batch)
            self.refill()
            self._tends.ask()  # its time may be over already
        await self._remove_expired_files()

    async def _remove_expired_files(self) -> None:
        """A portion of the files whose time is over: their contents, then their rows."""
        for file in await self._store.files.expired(FILES):
            await in_thread(self._storage.remove, file.id)
            await self._store.files.remove(file.id)

    async def _work(self, batch: Batch) -> None:
        """Do what a batch was taken for; left undone, it is others'."""
        work: Callable[[Batch], Awaitable[None]] = self._writing.run
        if batch.status == BatchStatus.VALIDATING:
            work = self._reading.run
        keeping = asyncio.create_task(self._keep(batch))
        try:
            await work(batch)
        except StorageAway as away:
            logger.warning("batch %s: waits: %s", batch.id, away)
            await self._store.intake.leave(batch, AGAIN_S)
        except Exception as error:
            is_fault = not isinstance(error, StoreAway)
            await self._store.intake.leave(batch, AGAIN_S if is_fault else 0.0)
            raise
        except BaseException:
            await self._store.intake.leave(batch)
            raise
        finally:
            keeping.cancel()

    async def _keep(self, batch: Batch) -> None:
        """Renew the lease: one step of a slow storage may take longer than it lasts, and whoever
        took the batch over would come no further.
        """
        held = True
        while held:
            await asyncio.sleep(self._lease_s / RENEWALS)
            with suppress(StoreAway):  # whoever works at it finds out
                held = await self._store.intake.hold_on(batch, self._lease_s)
