"""Batches as their owners see them: accepted, looked up, paused, resumed, cancelled."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, literal, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from models import ANSWERED, OPEN, Batch, BatchStatus, Job, JobState, clock
from models.base import UtcDateTime
from worker.errors import BatchNotFound
from worker.store.engine import insert_into
from worker.store.settlement import columns_of
from worker.store.side import Side, unbroken
from worker.text import repair

# What a cancellation can still stop.
CANCELLABLE = (BatchStatus.VALIDATING.value, BatchStatus.IN_PROGRESS.value)
# What an ended row may be tried again for, unless it is told. Of one that was erased since, the
# request is gone.
FAILED = and_(Job.state == JobState.FAILED.value, Job.erased_at.is_(None))


class Recent(NamedTuple):
    """What rows came to that ended after those the batch's tally has.

    Attributes:
        completed, failed: rows.
        cost: of all that ended since, and of what has begun and not ended, by now.
        highest: what the dearest ended one cost; 0 where none has a price.
    """

    completed: int = 0
    failed: int = 0
    cost: float = 0.0
    highest: float = 0.0


class Batches(Side):
    """The callers' side of the table of batches. Every method is one short transaction."""

    @unbroken
    async def add(self, batch: Batch) -> Batch:
        """Keep a new batch."""
        async with self._session() as session:
            statement = insert_into(session, Batch).values(columns_of(batch))
            fresh = statement.on_conflict_do_nothing().returning(Batch)
            added = (await session.scalars(fresh)).one_or_none()
        return added or await self.get(batch.id)

    @unbroken
    async def get(self, id: str, tenant: str | None = None) -> Batch:
        """The batch; for a tenant, only if it is the tenant's own.

        Raises:
            BatchNotFound: no batch has this id, or none that is to be seen.
        """
        async with self._session() as session:
            batch = await session.get(Batch, repair(id))
        forgotten = batch is None or batch.forgotten_at is not None
        if batch is None or forgotten or tenant not in (None, batch.tenant):
            raise BatchNotFound(f"no batch has the id {id[:80]!r}")
        return batch

    @unbroken
    async def page(self, tenant: str, limit: int, after: Batch | None = None) -> Sequence[Batch]:
        """So many of a tenant's batches at most, newest first, those after another one."""
        query = select(Batch).where(Batch.tenant == tenant, Batch.forgotten_at.is_(None))
        if after is not None:
            own = tuple_(literal(after.created_at, UtcDateTime), literal(after.id))
            query = query.where(tuple_(Batch.created_at, Batch.id) < own)
        query = query.order_by(Batch.created_at.desc(), Batch.id.desc()).limit(limit)
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def open(self) -> Sequence[Batch]:
        """All batches that have not ended, oldest first."""
        query = select(Batch).where(Batch.status.in_(OPEN))
        async with self._session() as session:
            return list(await session.scalars(query.order_by(Batch.created_at, Batch.id)))

    @unbroken
    async def children(self, id: str) -> Sequence[Batch]:
        """The batches that run rows of this one again, oldest first."""
        mine = Batch.retry_of == id, Batch.forgotten_at.is_(None)
        query = select(Batch).where(*mine).order_by(Batch.created_at, Batch.id)
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def recent(self, batch: Batch) -> Recent:
        """What its tally does not have yet."""
        async with self._session() as session:
            return await recent(session, batch)

    @unbroken
    async def pause(
        self,
        id: str,
        reason: str,
        message: str | None = None,
        until: datetime | None = None,
        *,
        seen: Batch | None = None,
    ) -> bool:
        """Release no more of its rows until it is resumed, or until then.

        Args:
            id: the batch.
            reason: a word; `message` says it to people.
            message: None where there is nothing to say.
            until: when it goes on by itself; None is never.
            seen: the batch as it was when its limits were found to be reached: if it was resumed
                with others meanwhile, it goes on.

        Returns:
            Whether that was new: a batch that is paused already keeps its reason, unless it was
            to go on by itself, and sooner.
        """
        goes_on: list[ColumnElement[bool]] = [Batch.paused_until.is_not(None)]
        if until is not None:
            goes_on.append(Batch.paused_until < until)
        runs = or_(Batch.paused_at.is_(None), and_(*goes_on))
        values = {
            "paused_at": func.coalesce(Batch.paused_at, clock()),
            "paused_until": until,
            "pause_reason": reason,
            "pause_message": None if message is None else repair(message),
        }
        statement = update(Batch).where(Batch.id == id, Batch.status.in_(CANCELLABLE), runs)
        for limit in () if seen is None else (Batch.max_cost, Batch.max_failed_ratio):
            statement = statement.where(limit.is_not_distinct_from(getattr(seen, limit.key)))
        async with self._session() as session:
            found = await session.scalars(statement.values(values).returning(Batch.id))
            return found.one_or_none() is not None

    @unbroken
    async def resume(
        self, id: str, max_cost: float | None = None, max_failed_ratio: float | None = None
    ) -> Batch:
        """Go on, and with other limits where they are given. Harmless where it is not paused."""
        values = {
            **UNPAUSED,
            "max_cost": func.coalesce(max_cost, Batch.max_cost),
            "max_failed_ratio": func.coalesce(max_failed_ratio, Batch.max_failed_ratio),
        }
        statement = update(Batch).where(Batch.id == id, Batch.status.in_(CANCELLABLE))
        async with self._session() as session:
            await session.execute(statement.values(values))
        return await self.get(id)

    @unbroken
    async def cancel(self, id: str) -> Batch:
        """Have what has not ended cancelled; a batch that has ended, or is about to, stays."""
        values = {"status": BatchStatus.CANCELLING.value, "cancelling_at": clock(), **UNPAUSED}
        statement = update(Batch).where(Batch.id == id, Batch.status.in_(CANCELLABLE))
        async with self._session() as session:
            await session.execute(statement.values(**values, lease_owner=None, lease_until=None))
        return await self.get(id)


# An open row that had begun, and is held until its next attempt.
PARKED = Job.held, Job.started_at.is_not(None)
# Why a batch is paused by its upstreams' suspension.
SUSPENDED = "suspended"
UNPAUSED: dict[str, object] = {
    "paused_at": None,
    "paused_until": None,
    "pause_reason": None,
    "pause_message": None,
}


def failed_of(categories: Collection[str] | None) -> ColumnElement[bool]:
    """That a row has failed, in one of these categories, or in any, and can be run again."""
    return FAILED if categories is None else and_(FAILED, Job.error_category.in_(categories))


async def recent(session: AsyncSession, batch: Batch) -> Recent:
    """What rows came to that ended after those the tally has, within a session."""
    ended = [Job.batch_id == batch.id, Job.finished_at.is_not(None)]
    if batch.tallied_to is not None:
        ended.append(Job.finished_at > batch.tallied_to)
    counts = ~Job.superseded
    done = case((and_(counts, Job.state.in_(ANSWERED)), 1), else_=0)
    undone = case((and_(counts, Job.state.not_in(ANSWERED)), 1), else_=0)
    sums = func.sum(done), func.sum(undone), func.sum(Job.cost), func.max(Job.cost)
    row = (await session.execute(select(*sums).where(*ended))).one()
    completed, failed, cost, highest = row
    cost = cost or 0.0
    open_rows = Job.batch_id == batch.id, Job.finished_at.is_(None)
    for begun in ((~Job.held,), PARKED):
        cost += await session.scalar(select(func.sum(Job.cost)).where(*open_rows, *begun)) or 0.0
    return Recent(completed or 0, failed or 0, cost, highest or 0.0)
