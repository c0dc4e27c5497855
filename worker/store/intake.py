"""Intake: the rows of a batch as whoever reads its file in sees them, under a lease.

A lease says who does it; it is checked in each transaction that adds rows, so that whoever has
lost it adds none.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    delete,
    exists,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import aliased

from models import ANSWERED, Batch, BatchStatus, Job, JobState, Lane, clock
from worker.store.batches import failed_of
from worker.store.side import Side, unbroken


class Row(NamedTuple):
    """A valid row of a batch's file. `request`, `response_fields` and `labels` are JSON."""

    id: str
    number: int
    custom_id: str
    model: str
    request: str
    response_fields: str | None = None
    labels: str | None = None


class Results(NamedTuple):
    """What the rows of a batch came to, and where that is written."""

    total: int
    tally: Mapping[str, object]
    output_file_id: str | None
    error_file_id: str | None


# The columns of a `Row`, in its order.
OWN = ("id", "batch_row", "custom_id", "model", "request", "response_fields", "metadata")
# What all new rows have in common; columns that are not named are null or have a default.
COMMON: Mapping[str, object] = {
    "request_hash": "",
    "lane": Lane.BULK.value,
    "held": True,
    "state": JobState.QUEUED.value,
    "attempt": 0,
    "failures": 0,
    "throttles": 0,
    "crashes": 0,
    "wakes": 0,
    "length": 0,
    "unverified": False,
}
# What is done under a lease: reading a batch in, and writing its results.
WORK = (BatchStatus.VALIDATING.value, BatchStatus.FINALIZING.value)


def _in_turn() -> ColumnElement[bool]:
    """That a batch may be read in, as far as it is one of rows that failed in another.

    Which those are is seen by what other such batches have: so one after the other is read in.
    A gateway's clock may be late: one that is being read in goes before an older one that came
    after it.
    """
    other = aliased(Batch)
    is_older = tuple_(other.created_at, other.id) < tuple_(Batch.created_at, Batch.id)
    validating = BatchStatus.VALIDATING.value
    before = exists().where(
        other.retry_of == Batch.retry_of,
        other.id != Batch.id,
        other.status == validating,
        or_(is_older, other.lease_until > clock()),
    )
    return or_(Batch.status != validating, ~before.correlate(Batch))


# Made once: that takes longer than to ask.
IN_TURN = _in_turn()


class Intake(Side):
    """The side of the process named `owner`."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        super().__init__(engine)
        self._owner = owner
        self._is_postgresql = engine.dialect.name == "postgresql"

    @unbroken
    async def take(self, lease_s: float) -> Batch | None:
        """The oldest batch that is to be read in, or whose results are to be written.

        Nobody else takes it for so many seconds, nor after that while it is kept.
        """
        free = or_(Batch.lease_until.is_(None), Batch.lease_until <= clock())
        first = select(Batch.id).where(Batch.status.in_(WORK), free, IN_TURN)
        first = first.order_by(Batch.created_at, Batch.id).limit(1)
        if self._is_postgresql:
            first = first.with_for_update(skip_locked=True)
        taken = (
            update(Batch)
            .where(Batch.id.in_(select(first.cte("first").c.id)), Batch.status.in_(WORK), free)
            .values(lease_owner=self._owner, lease_until=clock(lease_s))
            .returning(Batch)
        )
        async with self._session() as session:
            return (await session.scalars(taken)).one_or_none()

    @unbroken
    async def hold_on(self, batch: Batch, lease_s: float) -> bool:
        """Hold the batch for longer; whether it was still held, and for the same work."""
        async with self._session() as session:
            return await self._hold_on(session, batch, lease_s)

    @unbroken
    async def leave(self, batch: Batch, for_s: float = 0.0) -> None:
        """Leave the batch to whoever comes in so many seconds, or later."""
        left = update(Batch).where(Batch.id == batch.id, Batch.lease_owner == self._owner)
        async with self._session() as session:
            await session.execute(left.values(lease_owner=None, lease_until=clock(for_s)))

    @unbroken
    async def insert(
        self, batch: Batch, rows: Sequence[Row], deadline_at: datetime, lease_s: float
    ) -> bool:
        """Insert a portion of rows, in the order of their numbers; held until they are released.

        Those that are there already are passed over, so that it may be repeated.

        Returns:
            Whether this process still held the batch, and so the rows are there.
        """
        async with self._transaction() as session, session.begin():
            if not await self._hold_on(session, batch, lease_s):
                return False
            last = await session.scalar(
                select(func.max(Job.batch_row)).where(Job.batch_id == batch.id)
            )
            fresh = [row for row in rows if last is None or row.number > last]
            now = await session.scalar(select(clock()))
            assert now is not None
            moments = {"created_at": now, "wake_at": now, "deadline_at": deadline_at}
            common = {**COMMON, "tenant": batch.tenant, "batch_id": batch.id, **moments}
            if fresh and self._is_postgresql:
                await _copy(session, fresh, common)
            elif fresh:
                await (await session.connection()).run_sync(_insert, fresh, common)
        return True

    @unbroken
    async def rows(self, batch: str, after: int, limit: int) -> Sequence[Job]:
        """A portion of the rows of a batch that is read in, in order, beyond the row `after`."""
        query = select(Job).where(Job.batch_id == batch, Job.batch_row > after)
        async with self._session() as session:
            return list(await session.scalars(query.order_by(Job.batch_row).limit(limit)))

    @unbroken
    async def failed_rows(
        self, batch: str, categories: Collection[str] | None, after: int, limit: int
    ) -> Sequence[Job]:
        """A portion of the failed rows of an ended batch, in order, beyond the row `after`.

        Not those that another batch runs again, or has, be it one that was made for what failed
        in such a batch: unless they failed there as well.
        """
        mine = Job.batch_id == batch, Job.batch_row > after, ~Job.superseded, failed_of(categories)
        again = aliased(Job)
        elsewhere = exists().where(
            again.batch_id.in_(_descendants(batch)),
            again.batch_row == Job.batch_row,
            or_(again.finished_at.is_(None), again.state.in_(ANSWERED)),
        )
        query = select(Job).where(*mine, ~elsewhere).order_by(Job.batch_row).limit(limit)
        async with self._session() as session:
            return list(await session.scalars(query))

    @unbroken
    async def begin(
        self, batch: Batch, total: int, model: str | None, tally: Mapping[str, object]
    ) -> bool:
        """Its rows are all there, and may be released. Whether this process still held it.

        Args:
            batch: as it was taken.
            total: how many rows.
            model: theirs, if it is one.
            tally: what is known before any has ended.
        """
        values = {
            "status": BatchStatus.IN_PROGRESS.value,
            "in_progress_at": clock(),
            "total": total,
            "model": model,
            "tally": dict(tally),
        }
        return await self._change(batch, values)

    @unbroken
    async def reject(self, batch: Batch, errors: Sequence[Mapping[str, object]]) -> bool:
        """Its file cannot be run. Whether this process still held the batch."""
        errors = [dict(error) for error in errors]
        values = {"status": BatchStatus.FAILED.value, "failed_at": clock(), "errors": errors}
        if batch.webhook_url is not None:
            values["webhook_due_at"] = clock()
        return await self._change(batch, values)

    @unbroken
    async def conclude(self, batch: Batch, status: BatchStatus, results: Results) -> bool:
        """Its results are written: it has ended so. Whether this process still held it."""
        values: dict[str, object] = {
            "status": status.value,
            f"{status.value}_at": clock(),
            "total": results.total,
            "tally": dict(results.tally),
            "tallied_to": clock(),
            "output_file_id": results.output_file_id,
            "error_file_id": results.error_file_id,
        }
        if batch.webhook_url is not None:
            values["webhook_due_at"] = clock()
        return await self._change(batch, values)

    @unbroken
    async def drop(self, batch: Batch, limit: int, lease_s: float) -> int:
        """Remove a portion of the rows of a batch that will never begin; how many there were.

        The last ones first: what is there stays there in order. None where the batch is no longer
        this process's: to another its file may be valid.
        """
        last = select(Job.id).where(Job.batch_id == batch.id, Job.held, Job.finished_at.is_(None))
        last = last.order_by(Job.batch_row.desc()).limit(limit)
        async with self._transaction() as session, session.begin():
            if not await self._hold_on(session, batch, lease_s):
                return 0
            gone = await session.scalars(delete(Job).where(Job.id.in_(last)).returning(Job.id))
            return len(gone.all())

    async def _hold_on(self, session: AsyncSession, batch: Batch, lease_s: float) -> bool:
        kept = update(Batch).where(*self._held(batch)).values(lease_until=clock(lease_s))
        return (await session.scalars(kept.returning(Batch.id))).one_or_none() is not None

    async def _change(self, batch: Batch, values: Mapping[str, object]) -> bool:
        """Leave what the batch was taken for behind; done already is done as well."""
        freed = {**values, "lease_owner": None, "lease_until": None}
        changed = update(Batch).where(*self._held(batch)).values(freed).returning(Batch.id)
        async with self._session() as session:
            if (await session.scalars(changed)).one_or_none() is not None:
                return True
            now = await session.scalar(select(Batch.status).where(Batch.id == batch.id))
        return now == values["status"]

    def _held(self, batch: Batch) -> tuple[ColumnElement[bool], ...]:
        """That the batch is as it was taken, and still this process's."""
        mine = Batch.id == batch.id, Batch.lease_owner == self._owner
        return *mine, Batch.status == batch.status


def _descendants(batch: str) -> Select[tuple[str]]:
    """The ids of the batches that run rows of this one again, and of those that run theirs."""
    found = select(Batch.id).where(Batch.retry_of == batch).cte("descendants", recursive=True)
    child = aliased(Batch)
    found = found.union(select(child.id).where(child.retry_of == found.c.id))
    return select(found.c.id)


def _insert(connection: Connection, rows: Sequence[Row], common: Mapping[str, object]) -> None:
    """As one document and one statement: all of it is done without the interpreter, which reads
    the next rows meanwhile.
    """
    own = ", ".join(f"json_extract(value, '$[{place}]')" for place in range(len(OWN)))
    marks = ", ".join("?" * len(common))
    names = ", ".join([*OWN, *common])
    connection.exec_driver_sql(
        f"INSERT INTO jobs ({names}) SELECT {own}, {marks} FROM json_each(?)",  # noqa: S608  ours
        (*_bound(connection, common), msgspec.json.encode(rows).decode()),
    )


def _bound(connection: Connection, common: Mapping[str, object]) -> list[object]:
    columns = Job.__table__.columns
    processors = {name: columns[name].type.bind_processor(connection.dialect) for name in common}
    return [
        value if (bind := processors[name]) is None else bind(value)
        for name, value in common.items()
    ]


async def _copy(session: AsyncSession, rows: Sequence[Row], common: Mapping[str, object]) -> None:
    """By PostgreSQL's COPY, which costs a fraction of an INSERT."""
    connection = await (await session.connection()).get_raw_connection()
    driver = connection.driver_connection
    assert driver is not None
    shared = "\t".join(_copied(value) for value in common.values())
    lines = [f"{_copied_row(row)}\t{shared}\n" for row in rows]
    async with driver.cursor() as cursor:
        names = ", ".join([*OWN, *common])
        async with cursor.copy(f"COPY jobs ({names}) FROM STDIN") as copy:
            await copy.write("".join(lines))


# PostgreSQL's manual, COPY, "Text Format".
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copied(value: object) -> str:
    if value is None:
        return "\\N"
    text = str(value)
    is_plain = text.isprintable() and "\\" not in text
    return text if is_plain else text.translate(_ESCAPES)


def _copied_row(row: Row) -> str:
    names = f"{row.id}\t{row.number}\t{_copied(row.custom_id)}\t{_copied(row.model)}"
    # JSON holds no control characters but as escapes.
    request = row.request.replace("\\", "\\\\")
    return f"{names}\t{request}\t{_copied(row.response_fields)}\t{_copied(row.labels)}"
