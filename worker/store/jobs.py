"""Jobs as callers see them: accepted, looked up, cancelled."""

from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy import ColumnElement, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from models import TERMINAL, Attempt, Job, JobState, clock
from worker.errors import Conflict, JobNotFound
from worker.request import JobRequest

# When a wake-up is sent again should the job still be queued; doubles each time.
FIRST_REWAKE_S = 60.0


class Jobs:
    """The callers' side of the jobs table. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        single = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._session = async_sessionmaker(single, expire_on_commit=False)
        self._insert = postgresql.insert if engine.dialect.name == "postgresql" else sqlite.insert

    async def insert(
        self,
        request: JobRequest,
        *,
        id: str,
        tenant: str,
        deadline_s: float,
        ended: dict[str, object] | None = None,
    ) -> tuple[Job, bool]:
        """Insert the request as a job, unless its id or idempotency key is known.

        Args:
            request: what to run.
            id: the job's id.
            tenant: whose job it is.
            deadline_s: seconds from the earliest start to the deadline, where the request
                names none.
            ended: columns of a job that is inserted as ended (it can never run).

        Returns:
            The job, and whether this call inserted it; False for a known one with the same
            request.

        Raises:
            Conflict: the id or the key belongs to another request, or to another tenant.
        """
        values = _columns(request, deadline_s) | {"id": id, "tenant": tenant} | (ended or {})
        statement = self._insert(Job).values(values).on_conflict_do_nothing().returning(Job)
        async with self._session() as session:
            inserted = (await session.scalars(statement)).one_or_none()
            if inserted is not None:
                return inserted, True
            key = request.idempotency_key
            same_key: ColumnElement[bool] = (Job.tenant == tenant) & (Job.idempotency_key == key)
            known = (await session.scalars(select(Job).where(or_(Job.id == id, same_key)))).first()
        if known is None:
            raise Conflict(f"job {id}: was removed while it was submitted again; submit it anew")
        if known.tenant != tenant or known.request_hash != request.hash:
            name = (
                f"idempotency key {key!r}" if key and known.idempotency_key == key else f"id {id}"
            )
            raise Conflict(f"{name} belongs to another request; use another one")
        return known, False

    async def get(self, id: str) -> Job:
        """The job.

        Raises:
            JobNotFound: no job has this id.
        """
        async with self._session() as session:
            job = await session.get(Job, id)
        if job is None:
            raise JobNotFound(f"no job has the id {id!r}")
        return job

    async def many(self, ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that exist, by id, in one statement."""
        async with self._session() as session:
            found = await session.scalars(select(Job).where(Job.id.in_(list(ids))))
            return {job.id: job for job in found}

    async def attempts(self, id: str) -> list[Attempt]:
        """The job's requests to upstreams, oldest first."""
        query = select(Attempt).where(Attempt.job_id == id).order_by(Attempt.number)
        async with self._session() as session:
            return list(await session.scalars(query))

    async def cancel(self, id: str) -> tuple[Job, bool]:
        """Cancel the job unless it has ended: its attempt is raised, so its holder has lost.

        Returns:
            The job as it stands now, and whether this call cancelled it.

        Raises:
            JobNotFound: no job has this id.
        """
        statement = (
            update(Job)
            .where(Job.id == id, Job.state.not_in(TERMINAL))
            .values(
                state=JobState.CANCELLED.value,
                attempt=Job.attempt + 1,
                lease_owner=None,
                lease_until=None,
                finished_at=clock(),
            )
            .returning(Job)
        )
        async with self._session() as session:
            cancelled = (await session.scalars(statement)).one_or_none()
        if cancelled is not None:
            return cancelled, True
        return await self.get(id), False

    async def wake_soon(self, id: str) -> None:
        """Have the sweep send the job's wake-up at its next turn: the broker did not take it."""
        statement = update(Job).where(Job.id == id, Job.state == JobState.QUEUED.value)
        async with self._session() as session:
            await session.execute(statement.values(wake_at=clock()))


def _columns(request: JobRequest, deadline_s: float) -> dict[str, object]:
    starts = request.scheduled_at
    deadline = starts + timedelta(seconds=deadline_s) if starts else clock(deadline_s)
    return {
        "idempotency_key": request.idempotency_key,
        "request_hash": request.hash,
        "request": request.body,
        "model": request.model,
        "lane": request.lane.value,
        "labels": request.metadata,
        "scheduled_at": starts,
        "deadline_at": request.deadline_at or deadline,
        "wake_at": starts or clock(FIRST_REWAKE_S),
        "wakes": 0 if starts else 1,
    }
