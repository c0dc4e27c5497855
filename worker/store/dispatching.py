"""Dispatch: which rows of which batches may run now. The rest waits in the database."""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from models import Batch, BatchStatus, Job, JobState, Lane, Process, clock
from worker.store.batches import Recent, recent
from worker.store.jobs import FIRST_REWAKE_S
from worker.store.side import Side, unbroken

# Names our lock among those of other users of the database; any number would do.
LOCK = 0x64656C7461
RUNNING = (BatchStatus.IN_PROGRESS.value, BatchStatus.CANCELLING.value)


class Claimant(Struct, frozen=True):
    """A batch that has rows to run, or may have.

    Attributes:
        batch: in progress, paused or not.
        released: how many of its rows are released and have not ended.
        recent: what its tally lacks; asked only of batches whose limits depend on it.
    """

    batch: Batch
    released: int
    recent: Recent


class Released(Struct, frozen=True):
    """What one dispatch has released.

    Attributes:
        ids: of the jobs to be woken, by batch.
        spent: batches of which nothing is left to be released, and nothing runs.
        processes: how many live ones run bulk jobs.
    """

    ids: Mapping[str, Sequence[str]]
    spent: Sequence[str]
    processes: int = 0


# How many rows of each batch are to be released, by id, of so many in all.
Share = Callable[[Sequence[Claimant], int], Mapping[str, int]]


class Dispatching(Side):
    """The dispatcher's side: one at a time in the whole fleet, whoever it is."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self._is_postgresql = engine.dialect.name == "postgresql"

    @unbroken
    async def release(self, share: Share) -> Released | None:
        """Release as many rows as the live processes have slots for.

        Args:
            share: says whose rows; called once, with no database work to wait for.

        Returns:
            What was released; None where another process does the same just now.
        """
        async with self._transaction() as session, session.begin():
            if not await self._is_alone(session):
                return None
            claimants = await _claimants(session)
            if not claimants:
                return Released({}, [])
            slots, processes = await _slots(session)
            room = slots - await _taken(session, claimants)
            runnable = [each for each in claimants if _is_running(each.batch)]
            shares = share(runnable, room)
            found = {
                id: await self._release(session, id, most)
                for id, most in shares.items()
                if most > 0
            }
        released = {id: ids for id, ids in found.items() if ids}
        idle = {each.batch.id for each in runnable if each.released == 0}
        spent = sorted(idle & (found.keys() - released.keys()))
        return Released(released, spent, processes)

    @unbroken
    async def unsent(self, ids: Sequence[str]) -> None:
        """No wake-up was sent for these: the sweep's next turn sends one for each."""
        waiting = Job.id.in_(ids), Job.state == JobState.QUEUED.value, ~Job.held, Job.wakes == 1
        async with self._session() as session:
            await session.execute(update(Job).where(*waiting).values(wake_at=clock(), wakes=0))

    async def _is_alone(self, session: AsyncSession) -> bool:
        """Whether this is the only dispatch; in SQLite every transaction is."""
        if not self._is_postgresql:
            return True
        return bool(await session.scalar(select(func.pg_try_advisory_xact_lock(LOCK))))

    async def _release(self, session: AsyncSession, batch: str, most: int) -> Sequence[str]:
        held = Job.batch_id == batch, Job.held, Job.finished_at.is_(None)
        portion = select(Job.id).where(*held).order_by(Job.batch_row).limit(most)
        if self._is_postgresql:
            portion = portion.with_for_update(skip_locked=True)
        chosen = portion.cte("portion")
        statement = (
            update(Job)
            .where(Job.id.in_(select(chosen.c.id)))
            .values(held=False, wake_at=clock(FIRST_REWAKE_S), wakes=1)
            .returning(Job.batch_row, Job.id)
        )
        found = await session.execute(statement)
        # PostgreSQL returns them in any order.
        return [id for _, id in sorted(found, key=lambda row: row[0] or 0)]


def _is_running(batch: Batch) -> bool:
    return batch.status == BatchStatus.IN_PROGRESS


async def _claimants(session: AsyncSession) -> list[Claimant]:
    """Every batch that may hold slots, oldest first."""
    order = Batch.created_at, Batch.id
    running = select(Batch).where(Batch.status.in_(RUNNING)).order_by(*order)
    batches = list(await session.scalars(running))
    if not batches:
        return []
    released = (
        select(Job.batch_id, func.count())
        .where(Job.batch_id.in_([each.id for each in batches]))
        .where(~Job.held, Job.finished_at.is_(None))
        .group_by(Job.batch_id)
    )
    counts = {id: count for id, count in await session.execute(released)}
    return [
        Claimant(each, counts.get(each.id, 0), await _recent(session, each)) for each in batches
    ]


async def _recent(session: AsyncSession, batch: Batch) -> Recent:
    limited = batch.max_cost is not None or batch.max_failed_ratio is not None
    return await recent(session, batch) if limited else Recent()


async def _slots(session: AsyncSession) -> tuple[int, int]:
    """How many bulk jobs the live processes are ready for, and how many processes these are."""
    ready = Process.lease_until > clock(), Process.bulk_slots > 0
    found = select(func.sum(Process.bulk_slots), func.count()).where(*ready)
    slots, processes = (await session.execute(found)).one()
    return slots or 0, processes


async def _taken(session: AsyncSession, claimants: Sequence[Claimant]) -> int:
    """How many slots are taken: by rows that are released, and by bulk jobs of no batch."""
    others = select(func.count()).where(
        Job.state == JobState.IN_PROGRESS.value,
        Job.lane == Lane.BULK.value,
        Job.batch_id.is_(None),
    )
    return sum(each.released for each in claimants) + (await session.scalar(others) or 0)
