"""Jobs as their holder sees them: claimed, renewed, tried again, settled.

Every write after the claim carries the attempt it was made under and changes nothing when a
higher one exists. Losing is normal: the method says so and the caller stops quietly.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Executable, Update, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from models import Attempt, Job, JobState, clock
from worker.store.side import Side, unbroken

NO_LEASE: Mapping[str, object] = {"lease_owner": None, "lease_until": None}

# The columns that the end of a job writes.
ENDING = (
    "state", "upstream", "upstream_request_id", "output_text", "output", "parts", "length",
    "finish_reason", "unverified", "usage", "first_delta_at",
    "error_category", "error_code", "error_status", "error_message",
)  # fmt: skip


class Holds(Side):
    """The holder's side of the jobs table. `owner` names the process that holds."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        super().__init__(engine)
        self._owner = owner

    @unbroken
    async def claim(self, id: str, lease_s: float) -> Job | None:
        """Take hold of a queued job that is due: `attempt` is raised, a lease begins.

        Returns:
            The job; None where it is unknown, ended, not due yet, or held by somebody.
        """
        statement = (
            update(Job)
            .where(
                Job.id == id,
                Job.state == JobState.QUEUED.value,
                or_(Job.scheduled_at.is_(None), Job.scheduled_at <= clock()),
            )
            .values(
                state=JobState.IN_PROGRESS.value,
                attempt=Job.attempt + 1,
                lease_owner=self._owner,
                lease_until=clock(lease_s),
                started_at=func.coalesce(Job.started_at, clock()),
                scheduled_at=None,
            )
            .returning(Job)
        )
        async with self._session() as session:
            return (await session.scalars(statement)).one_or_none()

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
        statement = (
            update(Job)
            .where(
                Job.id.in_(list(held)),
                Job.lease_owner == self._owner,
                Job.state == JobState.IN_PROGRESS.value,
            )
            .values(lease_until=clock(lease_s))
            .returning(Job.id, Job.attempt)
        )
        async with self._session() as session:
            rows = await session.execute(statement)
            return {id for id, attempt in rows if attempt >= held[id]}

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

    @unbroken
    async def next_attempt(
        self, id: str, number: int, charge: str | None, attempt: Attempt | None
    ) -> bool:
        """Record a failed attempt and raise the fence, before the wait for the next one.

        Args:
            id: the job.
            number: the attempt that failed.
            charge: the column it is charged to, `failures` or `throttles`, if to any.
            attempt: what came of it; None where no request was sent.

        Returns:
            Whether the job was still held; the new attempt is one higher.
        """
        values = {"attempt": Job.attempt + 1, **_charged(charge)}
        return await self._change(id, number, values, attempt)

    @unbroken
    async def defer(
        self, id: str, number: int, due: datetime, charge: str | None, attempt: Attempt | None
    ) -> bool:
        """Give the job back, queued until `due`; see `next_attempt` for the arguments.

        Returns:
            Whether the job was still held.
        """
        values = {**_given_back(due), **_charged(charge)}
        return await self._change(id, number, values, attempt)

    @unbroken
    async def settle(self, job: Job, attempt: Attempt | None) -> bool:
        """End the job as its columns say, in one transaction with the last request's record.

        Args:
            job: with the attempt under which it is held, and a terminal state.
            attempt: None where no request was sent.

        Returns:
            Whether the job was still held.
        """
        values = {column: getattr(job, column) for column in ENDING}
        values |= {**NO_LEASE, "finished_at": clock()}
        return await self._change(job.id, job.attempt, values, attempt)

    async def _change(
        self, id: str, number: int, values: Mapping[str, object], attempt: Attempt | None
    ) -> bool:
        statement = _held(id, number).values(values).returning(Job.id)
        if attempt is None:
            async with self._session() as session:
                return await _changed(session, statement)
        async with self._transaction() as session, session.begin():
            held = await _changed(session, statement)
            if held:
                session.add(attempt)
        return held


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
