"""Jobs as callers see them: accepted, looked up, cancelled."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    Executable,
    Float,
    and_,
    bindparam,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from models import TERMINAL, Attempt, Job, JobState, clock
from models.base import UtcDateTime
from worker.errors import Conflict, JobNotFound
from worker.request import JobRequest
from worker.store.engine import insert_into
from worker.store.late import batch_of, correct
from worker.store.settlement import added, columns_of
from worker.store.side import Side, resolving, unbroken
from worker.text import repair

# When a wake-up is sent again should the job still be queued; doubles each time.
FIRST_REWAKE_S = 60.0


# What of a job its owner may have erased.
CONTENT = ("output_text", "output", "parts", "labels", "error_message", "response_fields")


class Listing(Struct, frozen=True, kw_only=True):
    """Which of a tenant's jobs are wanted; `after` is the last job of the page before."""

    tenant: str
    states: tuple[str, ...] = ()
    lane: str | None = None
    metadata: Mapping[str, str] = {}
    after: Job | None = None


class Ahead(NamedTuple):
    """A moment so many seconds ahead by the database's clock."""

    seconds: float


class Jobs(Side):
    """The callers' side of the jobs table. Every method is one short transaction."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._inserts: dict[tuple[frozenset[str], frozenset[str]], Executable] = {}

    @resolving
    async def insert(
        self,
        unsure: bool,
        request: JobRequest,
        *,
        id: str,
        tenant: str,
        deadline_s: float,
        held: bool = False,
        ended: dict[str, object] | None = None,
    ) -> tuple[Job, bool]:
        """Insert the request as a job, unless its id or idempotency key is known.

        Args:
            unsure: whether a try before may have inserted it.
            request: what to run.
            id: the job's id.
            tenant: whose job it is.
            deadline_s: seconds from the earliest start to the deadline, where the request
                names none.
            held: whether it waits for its release (see `Dispatching`): nobody is woken for it.
            ended: columns of a job that is inserted as ended just now (it can never run).

        Returns:
            The job, and whether this call inserted it; False for a known one with the same
            request.

        Raises:
            Conflict: the id or the key belongs to another request, or to another tenant.
        """
        values = _columns(request, deadline_s) | {"id": id, "tenant": tenant, "held": held}
        if ended is not None:
            values |= {**ended, "finished_at": Ahead(0.0)}
        ahead = frozenset(name for name, value in values.items() if isinstance(value, Ahead))
        async with self._session() as session:
            statement = self._insert(session, frozenset(values), ahead)
            inserted = (await session.scalars(statement, _bound(values))).one_or_none()
            if inserted is not None:
                return inserted, True
            query = select(Job).where(_same(request, id, tenant))
            known = list(await session.scalars(query))
        _refuse_others(known, request, id, tenant)
        return known[0], unsure and known[0].id == id

    def _insert(
        self, session: AsyncSession, names: frozenset[str], ahead: frozenset[str]
    ) -> Executable:
        """The statement for jobs with these columns; made once, which takes longer than its run."""
        if (made := self._inserts.get((names, ahead))) is not None:
            return made
        columns = Job.__mapper__.columns
        values = {
            columns[name].name: clock(bindparam(name, type_=Float)) if name in ahead
            else bindparam(name)
            for name in names
        }  # fmt: skip
        inserted = insert_into(session, Job).values(values).on_conflict_do_nothing()
        statement = select(Job).from_statement(inserted.returning(Job))
        return self._inserts.setdefault((names, ahead), statement)

    @unbroken
    async def get(self, id: str, tenant: str | None = None) -> Job:
        """The job; for a tenant, only if it is the tenant's own.

        Raises:
            JobNotFound: no job has this id, or none that is to be seen.
        """
        async with self._session() as session:
            job = await session.get(Job, repair(id))
        if job is None or tenant not in (None, job.tenant):
            raise JobNotFound(f"no job has the id {id!r}")
        return job

    @unbroken
    async def page(self, listing: Listing, limit: int) -> Sequence[Job]:
        """So many of a tenant's jobs at most, newest first."""
        query = select(Job).where(*_listed(listing), *self._labelled(listing.metadata))
        order = Job.created_at.desc(), Job.id.desc()
        async with self._session() as session:
            return list(await session.scalars(query.order_by(*order).limit(limit)))

    def _labelled(self, metadata: Mapping[str, str]) -> Iterator[ColumnElement[bool]]:
        """That a job has these metadata, which were repaired when they were stored."""
        for name, text in ((repair(name), repair(text)) for name, text in metadata.items()):
            if self._is_sqlite:
                # A path to the member would have to write its name as the stored JSON escapes it.
                each = func.json_each(Job.labels).table_valued("key", "value")
                pair = each.c.key == name, each.c.value == text
                yield exists(select(literal(1)).select_from(each).where(*pair))
            else:
                yield Job.labels[name].as_string() == text

    @unbroken
    async def waiting(self, tenant: str, lane: str, most: int) -> int:
        """How many of the tenant's jobs wait in the lane, rows of batches aside; none are counted
        beyond `most`.
        """
        mine = Job.tenant == tenant, Job.lane == lane, Job.state == JobState.QUEUED.value
        some = select(Job.id).where(*mine, Job.batch_id.is_(None)).limit(most).subquery()
        async with self._session() as session:
            return await session.scalar(select(func.count()).select_from(some)) or 0

    @resolving
    async def erase(self, unsure: bool, id: str) -> Job:
        """Remove what an ended job was asked and what it said; that it was stays.

        Raises:
            JobNotFound: no job has this id.
            Conflict: the job has not ended.
        """
        values: dict[str, object] = dict.fromkeys(CONTENT)
        values |= {"request": {}, "length": 0, "erased_at": func.coalesce(Job.erased_at, clock())}
        statement = update(Job).where(Job.id == id, Job.state.in_(TERMINAL)).values(values)
        said = update(Attempt).where(Attempt.job_id == id).values(error_message=None)
        async with self._transaction() as session, session.begin():
            erased = (await session.scalars(statement.returning(Job))).one_or_none()
            if erased is not None:
                await session.execute(said)
                return erased
        job = await self.get(id)
        raise Conflict(f"job {id}: is {job.state}; cancel it before its content is erased")

    @unbroken
    async def many(self, ids: Iterable[str]) -> dict[str, Job]:
        """Those of the jobs that exist, by id, in one statement."""
        async with self._session() as session:
            found = await session.scalars(select(Job).where(Job.id.in_(list(map(repair, ids)))))
            return {job.id: job for job in found}

    @unbroken
    async def attempts(self, id: str) -> list[Attempt]:
        """The job's requests to upstreams, oldest first."""
        query = select(Attempt).where(Attempt.job_id == id).order_by(Attempt.number)
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def keep_lost(self, attempt: Attempt, spent: float | None = None) -> None:
        """Keep the row of a request whose holder cannot write it any more, unless it has been.

        Nobody knows when it began: after the request before it, or after the job did. What it
        cost is added with the row, so once; to a job that has ended as well, and to its batch.

        Args:
            attempt: the row.
            spent: what it cost, as far as is known; None where no price is.
        """
        mine = select(func.max(Attempt.finished_at)).where(Attempt.job_id == attempt.job_id)
        before = mine.where(Attempt.number < attempt.number).scalar_subquery()
        began = select(Job.started_at).where(Job.id == attempt.job_id).scalar_subquery()
        moments = {"started_at": func.coalesce(before, began, clock()), "finished_at": clock()}
        values = columns_of(attempt) | moments
        async with self._transaction() as session, session.begin():
            batch = await batch_of(session, attempt.job_id)
            statement = insert_into(session, Attempt).values(values).on_conflict_do_nothing()
            kept = await session.scalar(statement.returning(Attempt.number))
            if kept is not None and spent is not None:
                if batch is not None:
                    await correct(session, batch, attempt.job_id, spent)
                job = update(Job).where(Job.id == attempt.job_id)
                await session.execute(job.values(added(spent)))

    @resolving
    async def cancel(self, unsure: bool, id: str) -> tuple[Job, bool]:
        """Cancel the job unless it has ended: its attempt is raised, so its holder has lost.

        Returns:
            The job as it stands now, and whether this call cancelled it.

        Raises:
            JobNotFound: no job has this id.
        """
        statement = (
            update(Job)
            .where(Job.id == repair(id), Job.state.not_in(TERMINAL))
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
        job = await self.get(id)
        return job, unsure and job.state == JobState.CANCELLED.value

    @unbroken
    async def wake_soon(self, id: str) -> None:
        """Have the sweep send the job's wake-up at its next turn: the broker did not take it."""
        statement = update(Job).where(Job.id == id, Job.state == JobState.QUEUED.value)
        async with self._session() as session:
            await session.execute(statement.values(wake_at=clock()))


def _listed(listing: Listing) -> list[ColumnElement[bool]]:
    found = [Job.tenant == listing.tenant]
    if listing.states:
        found.append(Job.state.in_(listing.states))
    if listing.lane is not None:
        found.append(Job.lane == listing.lane)
    if listing.after is not None:
        found.append(tuple_(Job.created_at, Job.id) < tuple_(*_place(listing.after)))
    return found


def _place(job: Job) -> tuple[ColumnElement[datetime], ColumnElement[str]]:
    return literal(job.created_at, UtcDateTime), literal(job.id)


def _same(request: JobRequest, id: str, tenant: str) -> ColumnElement[bool]:
    key = request.idempotency_key
    if key is None:
        return Job.id == id
    return or_(Job.id == id, and_(Job.tenant == tenant, Job.idempotency_key == key))


def _refuse_others(known: Sequence[Job], request: JobRequest, id: str, tenant: str) -> None:
    """Raise `Conflict` unless what stands in the way of an insert is one job, this request's."""
    if not known:
        raise Conflict(f"job {id}: was removed while it was submitted again; submit it anew")
    key = request.idempotency_key
    for job in known:
        if job.tenant != tenant or job.request_hash != request.hash:
            is_key = key and job.tenant == tenant and job.idempotency_key == key
            name = f"idempotency key {key!r}" if is_key else f"id {id}"
            raise Conflict(f"{name} belongs to another request; use another one")
    if len(known) > 1:
        raise Conflict(f"id {id} and idempotency key {key!r} belong to two jobs; use one of them")


def _bound(values: Mapping[str, object]) -> dict[str, object]:
    return {n: v.seconds if isinstance(v, Ahead) else v for n, v in values.items()}


def _columns(request: JobRequest, deadline_s: float) -> dict[str, object]:
    starts = request.scheduled_at
    deadline = starts + timedelta(seconds=deadline_s) if starts else Ahead(deadline_s)
    return {
        "idempotency_key": request.idempotency_key,
        "request_hash": request.hash,
        "request": request.body,
        "model": request.model,
        "lane": request.lane.value,
        "labels": request.metadata,
        "retry_of": request.retry_of,
        "response_fields": request.response_fields,
        "trace_context": request.trace_context,
        "scheduled_at": starts,
        "deadline_at": request.deadline_at or deadline,
        "wake_at": starts or Ahead(FIRST_REWAKE_S),
        "wakes": 0 if starts else 1,
        "webhook_url": request.webhook,
        "webhook_due_at": Ahead(0.0) if request.webhook else None,
    }
