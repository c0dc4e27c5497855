"""Jobs as their holder sees them: claimed, renewed, tried again, settled.

Every write after the claim carries the attempt it was made under and changes nothing when a
higher one exists. Losing is normal: the method says so and the caller stops quietly.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Executable,
    Float,
    Select,
    Update,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from models import TERMINAL, Attempt, Job, JobState, Lane, Process, clock
from worker.store.blame import SUSPECT_AT
from worker.store.endings import Endings
from worker.store.engine import insert_into
from worker.store.settlement import Settlement, added, columns_of
from worker.store.side import Side, once, resolving, unbroken
from worker.store.together import Together

NO_LEASE: Mapping[str, object] = {"lease_owner": None, "lease_until": None}
# Queued, not for later, and released: wake-ups of a row that was recalled may be on their way.
DUE = and_(
    Job.state == JobState.QUEUED.value,
    ~Job.held,
    or_(Job.scheduled_at.is_(None), Job.scheduled_at <= clock()),
)


class Holds(Side):
    """The holder's side of the jobs table. `owner` names the process that holds."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        super().__init__(engine)
        self._owner = owner
        self._endings = Endings(engine.dialect)
        self._claims = Together(self._claim_many)
        self._ends = Together(self._end_many)
        self._is_postgresql = engine.dialect.name == "postgresql"
        self._claimed = self._claim_of_many()

    @resolving
    async def claim(
        self,
        unsure: bool,
        id: str,
        lease_s: float,
        *,
        suspect: bool = False,
        patient: bool = False,
    ) -> Job | None:
        """Take hold of a queued job that is due: `attempt` is raised, a lease begins.

        Args:
            unsure: whether a try before may have taken it: then what this process holds is taken
                again, under an attempt that neither the try nor another hold of it can have.
            id: the job.
            lease_s: seconds from now.
            patient: whether it may wait a moment for others that are claimed.
            suspect: whether it is taken although it is a suspect (see `blame`).

        Returns:
            The job; None where it is unknown, ended, not due yet, or held by somebody.
        """
        if not unsure and not suspect:
            return await self._claims.ask((id, lease_s), patient=patient)
        ours = and_(Job.state == JobState.IN_PROGRESS.value, Job.lease_owner == self._owner)
        statement = (
            update(Job)
            .where(Job.id == id, or_(DUE, ours) if unsure else DUE)
            .where(true() if suspect else Job.crashes < SUSPECT_AT)
            .values(self._taken(2 if unsure else 1, lease_s))
            .returning(Job)
        )
        async with self._session() as session:
            return (await session.scalars(statement)).one_or_none()

    async def _claim_many(self, wanted: Sequence[tuple[str, float]]) -> Sequence[Job | None]:
        """Each job for the first who wants it."""
        lease_s = min(lease_s for _, lease_s in wanted)
        ids = list({id for id, _ in wanted})
        async with self._session() as session:
            found = await session.scalars(self._claimed, {"ids": ids, "lease_s": lease_s})
            jobs = {job.id: job for job in found}
        return [jobs.pop(id, None) for id, _ in wanted]

    def _claim_of_many(self) -> Executable:
        """The statement of `_claim_many`: to make it takes longer than to run it."""
        free = DUE, Job.crashes < SUSPECT_AT
        ids = self._in_order(bindparam("ids", expanding=True), *free)
        taken = update(Job).where(Job.id.in_(ids), *free)
        taken = taken.values(self._taken(1, bindparam("lease_s", type_=Float)))
        return select(Job).from_statement(taken.returning(Job))

    def _taken(self, raised: int, lease_s: float | BindParameter[float]) -> dict[str, object]:
        return {
            "state": JobState.IN_PROGRESS.value,
            "attempt": Job.attempt + raised,
            "lease_owner": self._owner,
            "lease_until": clock(lease_s),
            "started_at": func.coalesce(Job.started_at, clock()),
            "scheduled_at": None,
        }

    def _in_order(
        self, ids: Collection[str] | BindParameter[str], *where: ColumnElement[bool]
    ) -> Select[str]:
        """The jobs among these that are so, locked in one order, as by every statement that locks
        many: else two of them may each wait for the other.
        """
        chosen = select(Job.id).where(Job.id.in_(ids), *where)
        if not self._is_postgresql:
            return chosen
        return select(chosen.order_by(Job.id).with_for_update().cte("chosen").c.id)

    @unbroken
    async def leave(self, id: str, for_s: float = 0.0) -> None:
        """Leave a queued job that is due to others: its wake-up comes again in so many seconds."""
        async with self._session() as session:
            left = update(Job).where(Job.id == id, DUE).values(wake_at=clock(for_s), wakes=0)
            await session.execute(left)

    @unbroken
    async def renew(self, held: Mapping[str, int], lease_s: float) -> set[str]:
        """Extend the leases of all jobs a process holds, in one statement.

        Args:
            held: job id to attempt.
            lease_s: seconds from now.

        Returns:
            The ids whose lease was extended. The others are lost. A row whose attempt is higher,
            but still leased by this process, is not: the process itself has raised it.
        """
        ours = Job.lease_owner == self._owner, Job.state == JobState.IN_PROGRESS.value
        statement = (
            update(Job)
            .where(Job.id.in_(self._in_order(list(held), *ours)))
            .values(lease_until=clock(lease_s))
            .returning(Job.id, Job.attempt)
        )
        async with self._session() as session:
            rows = await session.execute(statement)
            return {id for id, attempt in rows if attempt >= held[id]}

    @unbroken
    async def present(self, lease_s: float, bulk_slots: int = 0) -> bool:
        """Say that this process lives: it is dead when so many seconds pass without a word.

        Args:
            lease_s: so many.
            bulk_slots: how many bulk jobs it is ready to run at a time.

        Returns:
            Whether somebody has told it to end (see `Processes.drain`).
        """
        said = {"lease_until": clock(lease_s), "bulk_slots": bulk_slots}
        async with self._session() as session:
            present = insert_into(session, Process).values(owner=self._owner, **said)
            present = present.on_conflict_do_update(index_elements=[Process.owner], set_=said)
            told = await session.scalar(present.returning(Process.drain_at))
        return told is not None

    @unbroken
    async def leave_for_good(self) -> None:
        """Say that this process ends by itself: that is no death."""
        async with self._session() as session:
            await session.execute(delete(Process).where(Process.owner == self._owner))

    @unbroken
    async def standing(self, held: Mapping[str, int]) -> set[str]:
        """Those of the jobs whose attempt and live lease are still this process's."""
        query = select(Job.id, Job.attempt).where(
            Job.id.in_(list(held)),
            Job.lease_owner == self._owner,
            Job.state == JobState.IN_PROGRESS.value,
            Job.lease_until > clock(),
        )
        async with self._session() as session:
            rows = await session.execute(query)
            return {id for id, attempt in rows if held[id] == attempt}

    @once
    async def next_attempt(
        self,
        id: str,
        number: int,
        charge: str | None,
        attempt: Attempt | None,
        *,
        spent: float | None = None,
        unsure: bool = False,
    ) -> bool:
        """Record a failed attempt and raise the fence, before the wait for the next one.

        Args:
            id: the job.
            number: the attempt that failed.
            charge: the column it is charged to, `failures` or `throttles`, if to any.
            attempt: what came of it; None where no request was sent.
            spent: what it cost, added to what the job's others did; None where that is not known.
            unsure: whether a try before may have been carried out: then the row is asked.

        Returns:
            Whether the job was still held; the new attempt is one higher.
        """
        values = {"attempt": Job.attempt + 1, **_charged(charge), **added(spent)}
        if await self._change(id, number, values, attempt):
            return True
        raised = (
            Job.attempt == number + 1,
            Job.state == JobState.IN_PROGRESS.value,
            Job.lease_owner == self._owner,
        )
        return unsure and await self._is(id, *raised) is not None

    @once
    async def defer(
        self,
        id: str,
        number: int,
        due: datetime | None,
        charge: str | None,
        attempt: Attempt | None,
        *,
        spent: float | None = None,
        held: bool = False,
        unsure: bool = False,
    ) -> bool:
        """Give the job back, queued until `due` (None: it is now), and where it is `held` until it
        is released once more; else as `next_attempt`.

        Returns:
            Whether the job was still held.
        """
        values = {**_given_back(due), "held": held, **_charged(charge), **added(spent)}
        if await self._change(id, number, values, attempt):
            return True
        given_back = Job.attempt == number, Job.state == JobState.QUEUED.value
        return unsure and await self._is(id, *given_back) is not None

    @once
    async def settle(
        self,
        job: Job,
        attempt: Attempt | None,
        *,
        spent: float | None = None,
        unsure: bool = False,
    ) -> bool:
        """End the job as its columns say, in one transaction with the last request's record.

        Args:
            job: with the attempt under which it is held, and a terminal state.
            attempt: None where no request was sent.
            spent: what the last request cost, added to what the job's others did; None where that
                is not known. The row's `cost` counts, the job's does not.
            unsure: whether a try before may have been carried out: then the row is asked.

        Returns:
            Whether the job was still held.
        """
        settlement = Settlement.of(job, attempt, spent)
        patient = job.lane == Lane.BULK
        if await self._end(settlement, patient=patient):
            return True
        return unsure and await self._ended(settlement) is not None

    @unbroken
    async def settle_late(self, settlement: Settlement) -> Job | None:
        """Settle what had to wait for the database, be it for the second time.

        Returns:
            The ended job; None where it was taken over, or removed, meanwhile.
        """
        await self._end(settlement)
        return await self._ended(settlement)

    async def _end(self, end: Settlement, *, patient: bool = False) -> bool:
        return await self._ends.ask(end, patient=patient)

    async def _end_many(self, ends: Sequence[Settlement]) -> Sequence[bool]:
        async with self._transaction() as session, session.begin():
            return await self._endings.write(session, ends)

    async def _ended(self, end: Settlement) -> Job | None:
        """The job if it has ended under this attempt: nobody but its holder does that."""
        return await self._is(end.id, Job.attempt == end.attempt, Job.state.in_(TERMINAL))

    async def _change(
        self,
        id: str,
        number: int,
        values: Mapping[str, object],
        attempt: Attempt | None,
    ) -> bool:
        statement = _held(id, number).values(values).returning(Job.id)
        if attempt is None:
            async with self._session() as session:
                return await _changed(session, statement)
        async with self._transaction() as session, session.begin():
            held = await _changed(session, statement)
            if held:
                await session.execute(insert(Attempt).values(columns_of(attempt)))
        return held

    async def _is(self, id: str, *conditions: ColumnElement[bool]) -> Job | None:
        async with self._session() as session:
            found = await session.scalars(select(Job).where(Job.id == id, *conditions))
            return found.one_or_none()


def _charged(column: str | None) -> dict[str, object]:
    return {} if column is None else {column: getattr(Job, column) + 1}


def _given_back(due: datetime | None) -> dict[str, object]:
    return {
        **NO_LEASE,
        "state": JobState.QUEUED.value,
        "scheduled_at": due,
        "wake_at": due or clock(),
        "wakes": 0,
    }


def _held(id: str, number: int) -> Update:
    return update(Job).where(
        Job.id == id, Job.attempt == number, Job.state == JobState.IN_PROGRESS.value
    )


async def _changed(session: AsyncSession, statement: Executable) -> bool:
    return (await session.scalars(statement)).one_or_none() is not None
