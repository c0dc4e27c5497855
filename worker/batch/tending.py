"""Leading batches to their end: what the sweep does for each, in portions."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from redis.exceptions import RedisError

from models import Batch, BatchStatus, Job
from worker.cancellation import announce, keep_lost
from worker.catalog import Catalog
from worker.channel.log import Log
from worker.settings import Settings
from worker.store import Store
from worker.transitions import Step, tell

logger = logging.getLogger(__name__)

# Rows that one statement ends, or counts.
PORTION = 1_000


class Tending:
    """One turn looks after every batch that has not ended."""

    def __init__(self, store: Store, log: Log, catalog: Catalog, settings: Settings) -> None:
        self._store = store
        self._log = log
        self._catalog = catalog
        self._settings = settings

    async def turn(self) -> None:
        """Tend all of them once."""
        for id in await self._store.tending.wake_paused():
            logger.info("batch %s: goes on", id)
        for batch in await self._store.batches.open():
            await self._tend(batch)

    async def _tend(self, batch: Batch) -> None:
        tending = self._store.tending
        if batch.status == BatchStatus.CANCELLING:
            while ended := await tending.cancel(batch.id, PORTION):
                await self._keep_lost(await self._tell(ended))
        elif batch.status == BatchStatus.IN_PROGRESS:
            is_over = batch.expires_at <= datetime.now(UTC)
            while is_over and (ended := await tending.expire(batch.id, PORTION)):
                await self._tell(ended)
        else:
            return
        while await tending.advance(batch.id, PORTION) >= PORTION:
            pass
        if await tending.finish(batch.id):
            logger.info("batch %s: all rows have ended", batch.id)

    async def _tell(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """Tell readers and holders of rows that were ended; of which this was done.

        Of held ones nobody has heard.
        """
        told: list[Job] = []
        for job in jobs:
            tell(Step.SETTLED, job)
        try:
            for job in jobs:
                if not job.untouched:
                    await announce(job, self._log, self._settings)
                    told.append(job)
        except (RedisError, OSError) as error:
            # Readers ask the database, and holders lose at their next renewal.
            logger.warning("ends of rows were not announced: %s", type(error).__name__)
        return told

    async def _keep_lost(self, told: Sequence[Job]) -> None:
        """Keep what was lost of those that had begun. These are few: no more than slots."""
        for job in told:
            if job.started_at is not None:
                await keep_lost(job, self._store.jobs, self._log, self._catalog)
