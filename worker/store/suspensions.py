"""Suspensions as everybody sees them: which keys are refused where, why, and until when."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine

from models import Batch, Job, JobState, Suspension, clock
from worker.errors import UpstreamError
from worker.store.batches import SUSPENDED, UNPAUSED
from worker.store.side import Side, unbroken
from worker.text import repair

# A job that waits for the end of a suspension is scheduled by its worker's clock.
CLOCKS_APART = timedelta(seconds=10)


class Suspensions(Side):
    """The suspensions table. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    @unbroken
    async def suspend(
        self,
        *,
        base_url: str,
        key_fingerprint: str,
        model: str,
        upstream: str,
        error: UpstreamError,
        for_s: float,
    ) -> Suspension:
        """Suspend the key for so many seconds from now; an earlier suspension is replaced.

        Args:
            base_url: the upstream's address.
            key_fingerprint: see `Upstream.key_fingerprint`.
            model: the model, or `*` where the whole key is refused.
            upstream: the upstream's name, for people.
            error: why.
            for_s: seconds from the database's now.
        """
        facts = {
            "upstream": upstream,
            "category": error.category.value,
            "code": error.code and repair(error.code)[:255],
            "status": error.status,
            "message": repair(error.message),
            "since": clock(),
            "until": clock(for_s),
        }
        key = {"base_url": base_url, "key_fingerprint": key_fingerprint, "model": model}
        statement = (
            self._insert(Suspension)
            .values(**key, **facts)
            .on_conflict_do_update(index_elements=list(key), set_=facts)
            .returning(Suspension)
        )
        async with self._session() as session:
            return (await session.scalars(statement)).one()

    @unbroken
    async def standing(self) -> Sequence[Suspension]:
        """The suspensions that are not over."""
        query = select(Suspension).where(Suspension.until > clock())
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def lift(self, upstream: str) -> int:
        """End all suspensions of the upstream with this name; how many there were.

        Jobs that went back to the queue to wait for it are due at once: those that had begun and
        are scheduled no later than it would have lasted. So are batches that are paused for it.
        """
        lifted = delete(Suspension).where(Suspension.upstream == upstream)
        async with self._transaction() as session, session.begin():
            ends = list(await session.scalars(lifted.returning(Suspension.until)))
            if ends:
                latest = max(ends) + CLOCKS_APART
                due = {"scheduled_at": None, "wake_at": clock(), "wakes": 0}
                await session.execute(update(Job).where(*_waiting_until(latest)).values(due))
                paused = Batch.pause_reason == SUSPENDED, Batch.paused_until <= latest
                await session.execute(update(Batch).where(*paused).values(UNPAUSED))
        return len(ends)


def _waiting_until(latest: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        Job.state == JobState.QUEUED.value,
        Job.attempt > 0,
        Job.wake_at <= latest,
        Job.scheduled_at <= latest,
    )
