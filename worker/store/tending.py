"""What is done to batches from time to time, in portions: rows counted, expired, cancelled, tried
again, told of; and batches led to their end.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, insert, literal, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from models import Batch, BatchStatus, Job, JobState, clock
from worker.errors import Category
from worker.store.batches import UNPAUSED, failed_of
from worker.store.dispatching import RUNNING
from worker.store.portions import Portions
from worker.store.side import unbroken
from worker.store.tally import Tally

# The code of rows whose batch expired before they were run.
EXPIRED = "batch_expired"
# A row may be committed a little after the moment that stands in it.
SETTLED_S = 10.0


class Tending(Portions):
    """The sweep's side of batches. Every method is one short transaction."""

    @unbroken
    async def wake_paused(self) -> Sequence[str]:
        """Batches that were paused until now go on; their ids."""
        over = update(Batch).where(Batch.status.in_(RUNNING), Batch.paused_until <= clock())
        async with self._session() as session:
            return list(await session.scalars(over.values(UNPAUSED).returning(Batch.id)))

    @unbroken
    async def expire(self, batch: str, limit: int) -> Sequence[Job]:
        """End a portion of the queued rows of a batch whose time is over."""
        queued = [Job.batch_id == batch, Job.finished_at.is_(None)]
        queued.append(Job.state == JobState.QUEUED.value)
        changes = {
            "state": JobState.FAILED.value,
            "error_category": Category.DEADLINE.value,
            "error_code": EXPIRED,
            "error_message": "the batch's completion window passed before this row was run",
        }
        return await self._end(queued, changes, limit)

    @unbroken
    async def cancel(self, batch: str, limit: int) -> Sequence[Job]:
        """Cancel a portion of the rows that have not ended, held ones and running ones alike."""
        open_rows = [Job.batch_id == batch, Job.finished_at.is_(None)]
        changes = {"state": JobState.CANCELLED.value, "lease_owner": None, "lease_until": None}
        return await self._end(open_rows, changes, limit)

    @unbroken
    async def advance(self, batch: str, limit: int) -> int:
        """Add a portion of ended rows to the batch's tally; how many."""
        async with self._transaction() as session, session.begin():
            row = await self._locked(session, batch)
            if row is None:
                return 0
            ended = await _ended_since(session, row, limit)
            if ended:
                tally = Tally.of(row.tally)
                for each in ended:
                    tally.add(each)
                row.tally, row.tallied_to = tally.document(), ended[-1].finished_at
            return len(ended)

    @unbroken
    async def failed_models(self, batch: str, categories: Collection[str] | None) -> set[str]:
        """The models of the rows that may be tried again."""
        mine = Job.batch_id == batch, ~Job.superseded, failed_of(categories)
        async with self._session() as session:
            return set(await session.scalars(select(Job.model).where(*mine).distinct()))

    @unbroken
    async def try_again(
        self,
        batch: str,
        categories: Collection[str] | None,
        new_ids: Sequence[str],
        after: int = -1,
        models: Collection[str] | None = None,
    ) -> Sequence[int]:
        """Have a portion of the failed rows of a running batch run once more; which, in order.

        Each becomes a new job, of the next generation; the failed one stays as it ended.

        Args:
            batch: its id.
            categories: of the errors; None is any.
            new_ids: for the new jobs; as many rows at most.
            after: only rows beyond this one.
            models: only rows of these; None is any.
        """
        async with self._transaction() as session, session.begin():
            row = await self._locked(session, batch)
            if row is None or row.status != BatchStatus.IN_PROGRESS:
                return []
            mine = [Job.batch_id == batch, ~Job.superseded, failed_of(categories)]
            if models is not None:
                mine.append(Job.model.in_(models))
            found = select(Job).where(*mine, Job.batch_row > after).order_by(Job.batch_row)
            failed = list(await session.scalars(found.limit(len(new_ids))))
            if not failed:
                return []
            tally = Tally.of(row.tally)
            for job in failed:
                if row.tallied_to and job.finished_at and job.finished_at <= row.tallied_to:
                    tally.withdraw(job)
                job.superseded = True
            row.tally = tally.document()
            now = await session.scalar(select(clock()))
            pairs = zip(failed, new_ids, strict=False)
            await session.execute(insert(Job), [_once_more(job, id, now) for job, id in pairs])
            return [job.batch_row or 0 for job in failed]

    @unbroken
    async def finish(self, batch: str) -> bool:
        """Have the results written of a batch of which no row is open; whether that is so.

        The row is locked first, and looked for again after that: nobody can add rows meanwhile.
        """
        open_row = exists().where(Job.batch_id == batch, Job.finished_at.is_(None))
        changes = {"status": BatchStatus.FINALIZING.value, "finalizing_at": clock(), **UNPAUSED}
        async with self._transaction() as session, session.begin():
            row = await self._locked(session, batch)
            if row is None or row.status not in RUNNING:
                return False
            ended = update(Batch).where(Batch.id == batch, ~open_row).values(changes)
            found = await session.scalars(ended.returning(Batch.id))
            return found.one_or_none() is not None

    @unbroken
    async def results(self, batch: str, after: tuple[int, int], limit: int) -> Sequence[Job]:
        """A portion of the ended rows, superseded ones too, beyond this row and generation."""
        place = tuple_(Job.batch_row, Job.generation)
        mine = Job.batch_id == batch, Job.finished_at.is_not(None)
        query = select(Job).where(*mine, place > tuple_(*map(literal, after)))
        query = query.order_by(Job.batch_row, Job.generation).limit(limit)
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def results_of_rows(self, batch: str, rows: Collection[int]) -> Mapping[int, Job]:
        """Of these rows, those of the batch that have ended and count."""
        mine = Job.batch_id == batch, Job.batch_row.in_(rows), ~Job.superseded
        query = select(Job).where(*mine, Job.finished_at.is_not(None))
        async with self._session() as session:
            found = list(await session.scalars(query))
        return {job.batch_row: job for job in found if job.batch_row is not None}

    async def _locked(self, session: AsyncSession, batch: str) -> Batch | None:
        query = select(Batch).where(Batch.id == batch)
        if self._is_postgresql:  # in SQLite a transaction holds the whole database
            query = query.with_for_update()
        return (await session.scalars(query)).one_or_none()

    async def _end(
        self, where: Sequence[ColumnElement[bool]], changes: Mapping[str, object], limit: int
    ) -> Sequence[Job]:
        portion = self._portion(select(Job.id).where(*where), None, limit)
        values = {**changes, "attempt": Job.attempt + 1, "finished_at": clock()}
        # The conditions are not repeated outside (see `Portions`).
        chosen = select(portion.cte("portion").c.id)
        statement = update(Job).where(Job.id.in_(chosen)).values(values).returning(Job)
        async with self._session() as session:
            return list(await session.scalars(statement))


# What a row's next generation has of the one before.
_SAME = (
    "tenant", "request_hash", "request", "model", "lane", "batch_id", "custom_id", "batch_row",
    "response_fields", "labels", "deadline_at",
)  # fmt: skip


def _once_more(job: Job, id: str, now: datetime | None) -> dict[str, object]:
    """The columns of a failed row's next generation."""
    same = {name: getattr(job, name) for name in _SAME}
    own = {"id": id, "generation": job.generation + 1, "held": True, "wake_at": now}
    return {**same, **own, "state": JobState.QUEUED.value}


async def _ended_since(session: AsyncSession, batch: Batch, limit: int) -> Sequence[Any]:
    """About so many rows that ended after those in the tally: all of the last one's moment, since
    a statement ends many at once.
    """
    where = [Job.batch_id == batch.id, Job.finished_at <= clock(-SETTLED_S)]
    if batch.tallied_to is not None:
        where.append(Job.finished_at > batch.tallied_to)
    moments = select(Job.finished_at).where(*where).order_by(Job.finished_at)
    last = await session.scalar(moments.offset(limit - 1).limit(1))
    if last is not None:
        where.append(Job.finished_at <= last)
    columns = Job.finished_at, Job.state, Job.error_category, Job.usage, Job.cost, Job.superseded
    rows = await session.execute(select(*columns).where(*where).order_by(Job.finished_at))
    return rows.all()
