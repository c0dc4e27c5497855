"""Dispatch: which bulk jobs may run now, rows of batches and others. The rest waits here."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnExpressionArgument, Select, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from models import Batch, BatchStatus, Job, JobState, Lane, Process, clock
from worker.store.batches import PARKED, Recent, recent
from worker.store.jobs import FIRST_REWAKE_S
from worker.store.portions import Portions
from worker.store.side import unbroken

# Names our lock among those of other users of the database; any number would do.
LOCK = 0x64656C7461
RUNNING = (BatchStatus.IN_PROGRESS.value, BatchStatus.CANCELLING.value)


class Claimant(Struct, frozen=True):
    """A batch that has rows to run, or may have; or the bulk jobs of a tenant that are in none.

    Attributes:
        tenant: whose they are.
        batch: in progress, paused or not; None stands for jobs that are in no batch.
        released: how many of them are released and have not ended.
        parked: how many of the batch's have begun, and are held until their next attempt is due.
        recent: what the batch's tally lacks; asked only where its limits depend on it.
    """

    tenant: str
    batch: Batch | None
    released: int
    recent: Recent = Recent()
    parked: int = 0

    @property
    def id(self) -> str:
        """The batch's id; of jobs that are in none, a name that no batch has."""
        return f"tenant {self.tenant}" if self.batch is None else self.batch.id

    @property
    def under_way(self) -> int:
        """How many have been released, or were and will be again, and have not ended."""
        return self.released + self.parked


class Wanted(Struct, frozen=True):
    """What a dispatch is to do.

    Attributes:
        release: how many jobs of each claimant, by its id.
        recall: batches of which no row may begin: those that wait for a worker are held again.
    """

    release: Mapping[str, int]
    recall: Collection[str] = ()


class Released(Struct, frozen=True):
    """What one dispatch has released.

    Attributes:
        ids: of the jobs to be woken, by claimant.
        spent: batches of which nothing is left to be released, and nothing runs.
        processes: how many live ones run bulk jobs.
        recalled: how many rows are held again; their slots are free for others.
    """

    ids: Mapping[str, Sequence[str]]
    spent: Sequence[str]
    processes: int = 0
    recalled: int = 0


# What is wanted, of so many jobs in all that may be released.
Share = Callable[[Sequence[Claimant], int], Wanted]


class Dispatching(Portions):
    """The dispatcher's side: one at a time in the whole fleet, whoever it is."""

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
            claimants = [*await _batches(session), *await _others(session)]
            if not claimants:
                return Released({}, [])
            slots, processes = await _slots(session)
            room = slots - sum(each.released for each in claimants)
            runnable = {each.id: each for each in claimants if _is_runnable(each)}
            wanted = share(list(runnable.values()), room)
            found = {
                id: await self._release(session, runnable[id], most)
                for id, most in wanted.release.items()
                if most > 0
            }
            stopped = [runnable[id] for id in wanted.recall if runnable[id].released]
            recalled = [await self._recall(session, each) for each in stopped]
        released = {id: ids for id, ids in found.items() if ids}
        idle = {each.id for each in runnable.values() if each.batch and not each.under_way}
        spent = sorted(idle & (found.keys() - released.keys()))
        return Released(released, spent, processes, sum(recalled))

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

    async def _release(self, session: AsyncSession, claimant: Claimant, most: int) -> Sequence[str]:
        order: InstrumentedAttribute[Any] = Job.batch_row
        is_due = or_(Job.scheduled_at.is_(None), Job.scheduled_at <= clock())
        held = [Job.held, Job.finished_at.is_(None), is_due]
        if claimant.batch is None:
            held += [*SINGLE, Job.tenant == claimant.tenant]
            order = Job.id
        else:
            held.append(Job.batch_id == claimant.batch.id)
        chosen = self._portion(select(Job.id).where(*held), order, most).cte("portion")
        statement = (
            update(Job)
            .where(Job.id.in_(select(chosen.c.id)))
            .values(held=False, wake_at=clock(FIRST_REWAKE_S), wakes=1)
            .returning(order, Job.id)
        )
        found = await session.execute(statement)
        # PostgreSQL returns them in any order.
        return [id for _, id in sorted(found, key=lambda row: row[0])]

    async def _recall(self, session: AsyncSession, claimant: Claimant) -> int:
        """Hold the batch's rows again that wait for a worker; their wake-ups find nothing."""
        waiting = Job.batch_id == claimant.id, ~Job.held, Job.finished_at.is_(None)
        queued = select(Job.id).where(*waiting, Job.state == JobState.QUEUED.value)
        chosen = self._portion(queued, Job.batch_row, claimant.released).cte("portion")
        statement = update(Job).where(Job.id.in_(select(chosen.c.id))).values(held=True)
        return len((await session.scalars(statement.returning(Job.id))).all())


# A queued bulk job that is in no batch.
SINGLE = Job.state == JobState.QUEUED.value, Job.batch_id.is_(None), Job.lane == Lane.BULK.value
# One that waits longer than that for its next attempt leaves its slot to others.
SOON_S = 60.0


def _is_runnable(claimant: Claimant) -> bool:
    return claimant.batch is None or claimant.batch.status == BatchStatus.IN_PROGRESS


async def _batches(session: AsyncSession) -> list[Claimant]:
    """Every batch that may hold slots, oldest first."""
    order = Batch.created_at, Batch.id
    running = select(Batch).where(Batch.status.in_(RUNNING)).order_by(*order)
    batches = list(await session.scalars(running))
    if not batches:
        return []
    ids = [each.id for each in batches]
    released = await _counts(session, ids, ~Job.held)
    parked = await _counts(session, ids, *PARKED, Job.scheduled_at > clock())
    return [
        Claimant(
            each.tenant,
            each,
            released[each.id],
            await _recent(session, each),
            parked[each.id],
        )
        for each in batches
    ]


async def _counts(
    session: AsyncSession, batches: Sequence[str], *where: ColumnExpressionArgument[bool]
) -> Counter[str]:
    """How many open rows are so, by batch."""
    open_rows = Job.batch_id.in_(batches), Job.finished_at.is_(None)
    query = select(Job.batch_id, func.count()).where(*open_rows, *where).group_by(Job.batch_id)
    return Counter({id: count for id, count in await session.execute(query) if id is not None})


async def _others(session: AsyncSession) -> list[Claimant]:
    """Each tenant that has bulk jobs in no batch which are queued, or run."""
    running = select(Job.tenant).where(
        Job.state == JobState.IN_PROGRESS.value,
        Job.lane == Lane.BULK.value,
        Job.batch_id.is_(None),
    )
    # Grouped here: for its groups SQLite would go through all jobs.
    counts = Counter(await session.scalars(running))
    for tenant, queued in await session.execute(_released_by_tenant()):
        counts[tenant] += queued
    return [Claimant(tenant, None, count) for tenant, count in sorted(counts.items())]


def _released_by_tenant() -> Select[str, int]:
    """The tenants that have queued bulk jobs in no batch, and how many of these are released.

    From tenant to tenant by the index: to group all jobs that wait would look at each.
    """
    first = select(func.min(Job.tenant).label("tenant")).where(*SINGLE)
    tenants = first.cte("tenants", recursive=True)
    following = select(func.min(Job.tenant)).where(*SINGLE, Job.tenant > tenants.c.tenant)
    tenants = tenants.union_all(
        select(following.scalar_subquery()).where(tenants.c.tenant.is_not(None))
    )
    soon = or_(Job.scheduled_at.is_(None), Job.scheduled_at <= clock(SOON_S))
    released = select(func.count()).where(*SINGLE, ~Job.held, soon, Job.tenant == tenants.c.tenant)
    return select(tenants.c.tenant, released.scalar_subquery()).where(tenants.c.tenant.is_not(None))


async def _recent(session: AsyncSession, batch: Batch) -> Recent:
    limited = batch.max_cost is not None or batch.max_failed_ratio is not None
    return await recent(session, batch) if limited else Recent()


async def _slots(session: AsyncSession) -> tuple[int, int]:
    """How many bulk jobs the live processes are ready for, and how many processes these are."""
    ready = Process.lease_until > clock(), Process.bulk_slots > 0
    found = select(func.sum(Process.bulk_slots), func.count()).where(*ready)
    slots, processes = (await session.execute(found)).one()
    return slots or 0, processes
