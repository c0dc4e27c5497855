"""Makes batches, their rows and their ends, with as few words as a test wants to say about them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import func, select, update

from models import Attempt, Batch, BatchStatus, File, Job, JobState, clock
from tests.jobs import claimed, ended
from worker.batch.dispatch import Dispatcher
from worker.batch.request import BATCH
from worker.files import new_file_id
from worker.ids import new_id
from worker.store import Row, Store

CHAT = "/v1/chat/completions"
LATER = timedelta(hours=1)
LEASE_S = 30.0
BODY = {"model": "sim", "messages": [{"role": "user", "content": "hello"}], "stream": True}


def batch(**fields: Any) -> Batch:
    """A batch that was accepted just now."""
    known = {
        "id": new_id(BATCH),
        "tenant": "default",
        "endpoint": CHAT,
        "input_file_id": "file-1",
        "completion_window": "24h",
        "expires_at": datetime.now(UTC) + LATER,
    }
    return Batch(**{**known, **fields})


def file(**fields: Any) -> File:
    """The row of a file for a batch."""
    known = {"id": new_file_id(), "tenant": "default", "purpose": "batch"}
    return File(**{**known, "filename": "in.jsonl", "bytes": 7, **fields})


def row(number: int, **fields: Any) -> Row:
    """A valid row of a file."""
    known = {
        "id": new_id("job_"),
        "number": number,
        "custom_id": f"row-{number}",
        "model": "sim",
        "request": msgspec.json.encode(BODY).decode(),
    }
    return Row(**{**known, **fields})


async def taken(store: Store, lease_s: float = LEASE_S, **fields: Any) -> Batch:
    """A new batch, whose file the store's process is to read in."""
    fresh = await store.batches.add(batch(**fields))
    found = await store.intake.take(lease_s)
    assert found is not None and found.id == fresh.id
    return found


async def inserted(store: Store, batch: Batch, rows: Sequence[Row]) -> bool:
    """Insert a portion as the holder of the batch; whether it was still held."""
    return await store.intake.insert(batch, rows, batch.expires_at, LEASE_S)


async def begun(store: Store, count: int = 0, **fields: Any) -> Batch:
    """A batch in progress with so many rows, all held."""
    batch = await taken(store, **fields)
    assert await inserted(store, batch, [row(number) for number in range(count)])
    assert await store.intake.begin(batch, count, "sim", {})
    return await store.batches.get(batch.id)


async def rows_of(store: Store, batch: Batch) -> list[Job]:
    """All its jobs, by row and generation."""
    query = select(Job).where(Job.batch_id == batch.id).order_by(Job.batch_row, Job.generation)
    async with store.engine.connect() as connection:
        found = await connection.execute(query.with_only_columns(Job.id))
        ids = [id for (id,) in found]
    jobs = await store.jobs.many(ids)
    return [jobs[id] for id in ids]


async def numbers_of(store: Store, batch: Batch) -> list[int | None]:
    """The rows that are there, each as often as it is."""
    query = select(Job.batch_row).where(Job.batch_id == batch.id).order_by(Job.batch_row)
    async with store.engine.connect() as connection:
        return list(await connection.scalars(query))


async def count(store: Store, *where: Any) -> int:
    """How many jobs there are of which that is so."""
    async with store.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(Job).where(*where)) or 0


async def begins(store: Store, id: str) -> Job:
    """Release a row, if it is held, and claim it."""
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(held=False))
    return await claimed(store, id, LEASE_S)


async def settled(
    store: Store,
    id: str,
    state: JobState = JobState.COMPLETED,
    *,
    spent: float | None = None,
    **columns: Any,
) -> None:
    """Claim a row, released or not, and end it, as its holder does."""
    job = await begins(store, id)
    ended(job, state=state)
    if state is JobState.FAILED:
        job.output_text, job.output, job.length, job.finish_reason = None, None, 0, None
        job.error_category, job.error_message = "server", "broken"
    for name, value in columns.items():
        setattr(job, name, value)
    now = datetime.now(UTC)
    record = Attempt(
        job_id=id, number=job.attempt, upstream="sim", started_at=now, finished_at=now, length=0
    )
    assert await store.holds.settle(job, record, spent=spent)


async def end_at_once(
    store: Store,
    batch: Batch,
    state: JobState = JobState.COMPLETED,
    *where: Any,
    ago_s: float = 60.0,
    **columns: Any,
) -> int:
    """End rows with one statement, at one moment, so many seconds ago; how many."""
    ends = {"state": state.value, "attempt": Job.attempt + 1, "finished_at": clock(-ago_s)}
    if state is JobState.FAILED:
        ends["error_category"] = "server"
    mine = Job.batch_id == batch.id, Job.finished_at.is_(None), *where
    async with store.engine.begin() as connection:
        done = await connection.execute(update(Job).where(*mine).values({**ends, **columns}))
        return done.rowcount


async def change(store: Store, batch: Batch, **columns: Any) -> None:
    """Set columns of the batch, as time or others would."""
    async with store.engine.begin() as connection:
        await connection.execute(update(Batch).where(Batch.id == batch.id).values(columns))


async def finished(store: Store, batch: Batch) -> Batch:
    """The batch, of which no row is open, as it is taken to have its results written."""
    assert await store.tending.finish(batch.id)
    found = await store.intake.take(LEASE_S)
    assert found is not None and (found.id, found.status) == (batch.id, BatchStatus.FINALIZING)
    return found


class Woken:
    """A dispatcher of the store, and the rows it has woken workers for."""

    def __init__(self, store: Store, *, takes: bool = True) -> None:
        self.ids: list[str] = []
        self.spent = 0
        self._takes = takes
        self._dispatcher = Dispatcher(store, self._wake, self._when_spent)

    async def _wake(self, ids: Sequence[str]) -> bool:
        self.ids += ids
        return self._takes

    def _when_spent(self) -> None:
        self.spent += 1

    async def turn(self) -> list[int]:
        """The rows of `numbered` batches that one dispatch released, by number."""
        return [int(id.rpartition("-")[2]) for id in await self.dispatch()]

    async def dispatch(self) -> list[str]:
        """One dispatch, of whatever jobs; those that it released."""
        before = len(self.ids)
        released = await self._dispatcher.turn()
        assert not self._takes or released == len(self.ids) - before
        return self.ids[before:]


async def numbered(store: Store, count: int, **fields: Any) -> Batch:
    """A batch in progress whose rows' ids end in their numbers."""
    mine = await taken(store, **fields)
    rows = [row(n, id=f"{new_id('job_')}-{n}") for n in range(count)]
    assert await inserted(store, mine, rows)
    assert await store.intake.begin(mine, count, "sim", {})
    return mine
