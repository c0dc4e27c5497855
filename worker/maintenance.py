"""The sweep: what nobody else does, every few seconds, in small portions, in several copies."""

import logging
import time
from collections.abc import Callable

from redis.exceptions import RedisError

from models import Job, JobState
from worker import metrics
from worker.app import Wake
from worker.catalog import Catalog
from worker.channel.announce import announce_end, announce_lost
from worker.channel.log import Log
from worker.channel.lost import lost_attempt
from worker.costs import spent_on_lost
from worker.leases import Leases
from worker.settings import Settings
from worker.store import Store
from worker.transitions import Step, tell

logger = logging.getLogger(__name__)

# Rows one step takes at a time; what is left waits for the next turn.
PORTION = 500
# An end that its holder has not announced for so long is announced by the sweep.
UNANNOUNCED_S = 10.0
# How long a process's death counts: so many seconds, or leases where that is longer.
REMEMBERED_S = 60.0
LEASES_REMEMBERED = 2


class Sweep:
    """One turn stages due jobs, rescues expired leases, ends overdue jobs, announces ends, and has
    this process look further: for webhooks that are due, and after batches.
    """

    def __init__(
        self,
        store: Store,
        log: Log,
        wake: Wake,
        leases: Leases,
        settings: Settings,
        catalog: Catalog,
        look_further: Callable[[], None],
    ) -> None:
        self._store = store
        self._log = log
        self._wake = wake
        self._leases = leases
        self._settings = settings
        self._catalog = catalog
        self._look_further = look_further
        self._turned_at: float | None = None
        metrics.read(metrics.names.SWEPT, lambda: self._turned_at)

    async def turn(self) -> None:
        """Take one portion of each kind of work."""
        await self._end_overdue()
        await self._rescue()
        await self._stage()
        self._look_further()
        self._turned_at = time.time()
        try:
            await self._log.swept()
            await self._announce()
        except (RedisError, OSError) as error:
            logger.warning("the sweep could not announce: %s", type(error).__name__)

    async def _stage(self) -> None:
        for job in await self._store.sweeping.due(PORTION):
            if not await self._wake(job.id, job.lane):
                return  # the broker is away; the others' next wake-up comes by itself
            metrics.count(metrics.names.WOKEN, job.lane)

    async def _rescue(self) -> None:
        # A database that was away could not be told of renewals: it must first have been up
        # for a whole lease.
        if self._leases.database_up_s() < self._settings.lease_s:
            return
        if dead := await self._store.sweeping.notice_deaths():
            logger.warning("died: %s", ", ".join(dead))
            metrics.count(metrics.names.DEATHS, by=len(dead))
            # What they had taken from the broker and not begun went with them.
            most = min(len(dead) * self._settings.streams, PORTION)
            await self._store.sweeping.hasten(self._settings.lease_s / 2, most)
        remembered_s = max(REMEMBERED_S, LEASES_REMEMBERED * self._settings.lease_s)
        rescued = await self._store.sweeping.rescue(PORTION, remembered_s)
        for job in rescued:
            if JobState(job.state).terminal:
                tell(Step.SETTLED, job)
                await self._announce_end(job)
            else:
                tell(Step.RESCUED, job)
                await announce_lost(self._log, job, self._settings.open_log_life_s)
        for job in rescued:
            if lost := await lost_attempt(self._log, job, "lost"):
                spent = spent_on_lost(self._catalog, job, lost)
                await self._store.jobs.keep_lost(lost, spent)
                tell(Step.KEPT, job, record=lost, spent=spent)

    async def _end_overdue(self) -> None:
        for job in await self._store.sweeping.overdue(PORTION):
            tell(Step.SETTLED, job)
            await self._announce_end(job)

    async def _announce_end(self, job: Job) -> None:
        await announce_end(self._log, job, self._settings.closed_log_life_s(job.lane))

    async def _announce(self) -> None:
        open_jobs = await self._log.unannounced(UNANNOUNCED_S, PORTION)
        rows = await self._store.jobs.many(open_jobs)
        for id in open_jobs:
            job = rows.get(id)
            if job is None:
                await self._log.announced([id])
            elif JobState(job.state).terminal:
                await self._announce_end(job)
