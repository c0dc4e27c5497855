"""Writing what became of a hold, while its lease can be trusted: the database may be away.

It is tried again until the lease cannot be trusted, or the process ends. Then another process may
take the job, so a retry or a deferral is left to its rescue. An end goes to the spool: what it
holds was paid for.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Protocol

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from models import Attempt, Lane
from worker import metrics
from worker.errors import HoldLost, StoreAway, UpstreamError
from worker.leases import Hold
from worker.spool import Spool
from worker.store import Holds, Settlement
from worker.tries import tried

logger = logging.getLogger(__name__)

# The limits of the pauses between tries, of which each is any part of its limit.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 2.0
_IF_AWAY = retry_if_exception_type(StoreAway)
_PAUSES = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LAST_PAUSE_S)
# How long the one try may take that is made where the lease cannot be trusted any more.
LAST_TRY_S = 2.0

# Writes, and says whether the job was still held; told whether a try before may have been carried
# out.
Write = Callable[[bool], Awaitable[bool]]


class BatchesOfRows(Protocol):
    """What batches are told of their rows (see `worker.batch`)."""

    def refill(self) -> None:
        """A bulk job has ended."""

    async def suspended(self, id: str, error: UpstreamError, for_s: float) -> None:
        """Nothing serves one of the batch's for so many seconds."""


class Settling:
    """Writes the ends, retries and deferrals of one process.

    Where a job with a webhook has ended `look_for_webhooks` is called; `batches` hear of their
    rows.
    """

    def __init__(
        self,
        holds: Holds,
        spool: Spool,
        look_for_webhooks: Callable[[], None],
        batches: "BatchesOfRows",
    ) -> None:
        self._holds = holds
        self._spool = spool
        self._look_for_webhooks = look_for_webhooks
        self._batches = batches

    async def settle(self, hold: Hold, record: Attempt | None, spent: float | None = None) -> bool:
        """End the job as its columns say; `spent` is what its last request cost, if that is known.

        Returns:
            Whether it is committed. If not, whoever settles it from the spool announces it.

        Raises:
            HoldLost: somebody else has taken the job.
        """
        job = hold.job
        try:
            write = partial(self._holds.settle, job, record, spent=spent)
            await _insist(hold, lambda unsure: write(unsure=unsure))
        except StoreAway:
            await self._spool.keep(Settlement.of(job, record, spent))
            return False
        if job.webhook_url is not None:
            self._look_for_webhooks()
        if job.lane == Lane.BULK:
            self._batches.refill()
        return True

    async def next_attempt(
        self,
        hold: Hold,
        charge: str | None,
        record: Attempt | None,
        spent: float | None = None,
    ) -> None:
        """Record a failed attempt, and what it cost if that is known, and raise the fence.

        Raises:
            HoldLost: somebody else has taken the job, or will.
        """
        job = hold.job
        held = partial(self._holds.next_attempt, job.id, job.attempt)
        write = partial(held, charge, record, spent=spent)
        await self._insist_or_lose(hold, lambda unsure: write(unsure=unsure))

    async def defer(
        self,
        hold: Hold,
        due: datetime | None,
        charge: str | None,
        record: Attempt | None,
        spent: float | None = None,
        *,
        held: bool = False,
    ) -> None:
        """Give the job back, queued until `due`, and until it is released again where it is
        `held`; else as `next_attempt`.

        Raises:
            HoldLost: somebody else has taken the job, or will.
        """
        job = hold.job
        given_back = partial(self._holds.defer, job.id, job.attempt)
        write = partial(given_back, due, charge, record, spent=spent, held=held)
        await self._insist_or_lose(hold, lambda unsure: write(unsure=unsure))

    async def pause(self, batch: str, error: UpstreamError, for_s: float) -> None:
        """Have the batch paused: nothing serves one of its rows for so many seconds."""
        await self._batches.suspended(batch, error, for_s)

    async def _insist_or_lose(self, hold: Hold, write: Write) -> None:
        try:
            await _insist(hold, write)
        except StoreAway as away:
            logger.warning("job %s: left to its rescue: %s", hold.job.id, away)
            raise HoldLost from None


async def _insist(hold: Hold, write: Write) -> None:
    unsure = False

    async def once_more() -> bool:
        nonlocal unsure
        try:
            return await _in_time(hold, write(unsure))
        except StoreAway as away:
            unsure = unsure or away.unsure
            raise

    def is_over(_: object = None) -> bool:
        return hold.over or hold.trusted_s() <= 0

    def retrying() -> AsyncRetrying:
        return AsyncRetrying(retry=_IF_AWAY, wait=_PAUSES, stop=is_over, reraise=True)

    held = await tried(retrying, once_more)
    if not held:
        metrics.count(metrics.names.FENCED, "database")
        raise HoldLost


async def _in_time(hold: Hold, writing: Awaitable[bool]) -> bool:
    """Wait for the write no longer than the lease is trusted; it goes on without us."""
    try:
        async with asyncio.timeout(hold.trusted_s() or LAST_TRY_S):
            return await writing
    except TimeoutError:
        raise StoreAway("the database does not answer", unsure=True) from None
