"""Retention: what was kept for long enough goes, in portions, by index, and nothing else does."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, func, insert, select, update

from models import Attempt, Batch, BatchStatus, Job, JobState
from tests.batches import batch, change, file
from tests.jobs import claimed, new_id, queue
from tests.service.conftest import OpenStore
from worker.errors import BatchNotFound
from worker.retention import PORTION, Retention
from worker.settings import Settings
from worker.store import Store

HOUR = 3600.0
OLD, YOUNG = timedelta(hours=2), timedelta(minutes=30)
POLICY = Settings(keep_jobs_s=HOUR, keep_batches_s=HOUR)


async def fill(
    store: Store, count: int, ago: timedelta = OLD, state: str = "completed", **columns: Any
) -> list[str]:
    """Insert many jobs that ended so long ago, each with a request to an upstream."""
    now = datetime.now(UTC)
    row: dict[str, object] = {"request": {}, "request_hash": "", "model": "sim", "lane": "bulk"}
    row |= {"state": state, "finished_at": now - ago, "deadline_at": now, "wake_at": now}
    sent = {"number": 1, "upstream": "sim", "started_at": now, "finished_at": now}
    ids = [new_id() for _ in range(count)]
    jobs = [{**row, **columns, "id": id} for id in ids]
    if "batch_id" in columns:
        jobs = [{**job, "batch_row": number} for number, job in enumerate(jobs)]
    async with store.engine.begin() as connection:
        await connection.execute(insert(Job), jobs)
        await connection.execute(insert(Attempt), [{**sent, "job_id": id} for id in ids])
    return ids


async def ended_batch(store: Store, rows: int, ago: timedelta = OLD, **columns: Any) -> Batch:
    """A batch that was made and completed so long ago, with so many rows and two files."""
    then = datetime.now(UTC) - ago
    results = [await store.files.add(file(purpose="batch_output")) for _ in range(2)]
    known = {"status": BatchStatus.COMPLETED.value, "created_at": then, "completed_at": then}
    known |= {"output_file_id": results[0].id, "error_file_id": results[1].id}
    mine = await store.batches.add(batch(**{**known, **columns}))
    if rows:
        await fill(store, rows, ago, batch_id=mine.id)
    return mine


async def jobs_left(store: Store) -> set[str]:
    async with store.engine.connect() as connection:
        return set(await connection.scalars(select(Job.id)))


async def count(store: Store, kind: type[Job | Attempt | Batch]) -> int:
    async with store.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(kind)) or 0


async def test_jobs_that_ended_long_ago_go_and_their_attempts_with_them(store: Store) -> None:
    for state in JobState:
        if state.terminal:
            await fill(store, 2, state=state.value)
    young = await fill(store, 3, YOUNG)
    assert await Retention(store, POLICY).turn() == 8
    assert await jobs_left(store) == set(young)
    assert await count(store, Attempt) == 3


async def test_what_has_not_ended_or_is_still_to_be_told_stays(store: Store) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=900)
    queued = await queue(store, prompt="queued", scheduled_at=long_ago)
    running = (await claimed(store, await queue(store, prompt="runs"), lease_s=-1)).id
    (told,) = await fill(store, 1, webhook_url="https://a.example", webhook_due_at=long_ago)
    rows = await fill(store, 3, batch_id="batch-that-is-somewhere-else")
    retention = Retention(store, POLICY)
    assert await retention.turn() == 0
    assert await jobs_left(store) == {queued, running, told, *rows}

    await store.webhooks.done(await store.jobs.get(told))
    assert await retention.turn() == 1
    assert told not in await jobs_left(store)


async def test_without_a_policy_everything_is_kept(store: Store) -> None:
    ids = await fill(store, 5, timedelta(days=3000))
    mine = await ended_batch(store, 2, timedelta(days=3000))
    assert await Retention(store, Settings()).turn() == 0
    assert set(ids) < await jobs_left(store)
    assert (await store.batches.get(mine.id)).forgotten_at is None


async def test_an_idempotency_key_is_kept_as_long_as_its_job(store: Store) -> None:
    first = await queue(store, idempotency_key="invoice-17")
    assert await queue(store, idempotency_key="invoice-17") == first
    await claimed(store, first)
    async with store.engine.begin() as connection:
        past = datetime.now(UTC) - OLD
        ends = {"state": JobState.FAILED.value, "finished_at": past}
        await connection.execute(update(Job).where(Job.id == first).values(ends))
    assert await Retention(store, POLICY).turn() == 1
    assert await queue(store, idempotency_key="invoice-17") != first


async def test_a_batch_goes_with_its_rows_and_results(store: Store) -> None:
    source = await store.files.add(file())
    old = await ended_batch(store, 7, input_file_id=source.id)
    young = await ended_batch(store, 4, YOUNG)
    retention = Retention(store, POLICY)
    assert await retention.turn() == 7
    assert await count(store, Batch) == 1
    assert await count(store, Attempt) == 4
    with pytest.raises(BatchNotFound):
        await store.batches.get(old.id)
    assert (await store.batches.get(young.id)).status == BatchStatus.COMPLETED
    expired = {each.id for each in await store.files.expired(10)}
    assert expired == {old.output_file_id, old.error_file_id}
    assert await retention.turn() == 0


@pytest.mark.parametrize(
    "columns",
    [
        {"status": BatchStatus.IN_PROGRESS.value, "completed_at": None},
        {"webhook_due_at": datetime.now(UTC)},
        {"completed_at": datetime.now(UTC)},
    ],
    ids=["runs", "is to be told of", "ended just now"],
)
async def test_a_batch_of_long_ago_stays_while_it(store: Store, columns: dict[str, Any]) -> None:
    mine = await ended_batch(store, 3, **columns)
    assert await Retention(store, POLICY).turn() == 0
    assert (await store.batches.get(mine.id)).id == mine.id
    assert await count(store, Job) == 3


async def test_a_batch_stays_while_another_one_reads_its_rows(store: Store) -> None:
    mine = await ended_batch(store, 3)
    child = await store.batches.add(batch(retry_of=mine.id))
    retention = Retention(store, POLICY)
    assert await retention.turn() == 0
    await change(store, child, status=BatchStatus.FAILED.value, failed_at=datetime.now(UTC))
    assert await retention.turn() == 3


async def test_a_batch_that_is_being_removed_is_seen_by_nobody(store: Store) -> None:
    mine = await ended_batch(store, 5, retry_of="parent")
    assert await store.retention.forget_batches(HOUR, 10) == 1
    assert await store.retention.remove_rows(mine.id, 2) == 2
    await store.retention.remove_batch(mine.id)  # three rows are left: it stays
    assert await store.retention.forgotten(10) == [mine.id]
    assert not await store.batches.page("default", 10)
    assert not await store.batches.children("parent")
    with pytest.raises(BatchNotFound):
        await store.batches.get(mine.id)
    # Not even a policy that has changed brings it back: it goes to its end.
    assert await Retention(store, Settings()).turn() == 3
    assert await count(store, Batch) == 0


async def test_many_rows_go_in_portions_and_let_others_in(store: Store) -> None:
    await fill(store, 1_000)
    mine = await ended_batch(store, 1_000)
    portions: list[str] = []
    event.listen(
        store.engine.sync_engine,
        "after_cursor_execute",
        lambda _c, _k, said, _v, _x, _m: portions.append(said),
    )
    removing = asyncio.create_task(until_empty(Retention(store, POLICY)))
    waits: list[float] = []
    while not removing.done():
        began = time.monotonic()
        await queue(store, prompt=str(began))
        waits.append(time.monotonic() - began)
        await asyncio.sleep(0.01)
    assert await removing == 2_000
    assert len([said for said in portions if "DELETE FROM jobs" in said]) >= 2_000 / PORTION
    assert await count(store, Attempt) == await count(store, Batch) == 0
    assert mine.id not in await jobs_left(store)
    # A job that comes meanwhile waits for one portion, not for all of them.
    assert len(waits) >= 3 and max(waits) < 1, (len(waits), max(waits))


async def until_empty(retention: Retention) -> int:
    removed, found = 0, 1
    while found:
        removed += (found := await retention.turn())
    return removed


async def test_several_copies_at_once_remove_each_job_once(open_store: OpenStore) -> None:
    copies = [Retention(open_store(f"copy-{number}"), POLICY) for number in range(4)]
    store = open_store("us")
    await fill(store, 300)
    mine = await ended_batch(store, 300)
    turns: Sequence[int] = await asyncio.gather(*(until_empty(copy) for copy in copies))
    while await copies[0].turn():
        pass
    assert sum(turns) == 600
    with pytest.raises(BatchNotFound):
        await store.batches.get(mine.id)
    assert await count(store, Job) == await count(store, Batch) == 0


async def test_what_is_kept_costs_a_turn_nothing(store: Store, backend: str) -> None:
    """Each statement finds by index what is to be removed, however much is not."""
    await fill(store, 1_000, YOUNG)
    then = datetime.now(UTC) - YOUNG
    async with store.engine.begin() as connection:
        known = {"tenant": "default", "endpoint": "", "input_file_id": "", "total": 0}
        known |= {"completion_window": "24h", "status": "completed", "webhook_tries": 0}
        known |= {"expires_at": then, "completed_at": then, "mixed_models": False, "priority": 0}
        rows = [{**known, "id": f"kept-{number}", "created_at": then} for number in range(500)]
        await connection.execute(insert(Batch), rows)
    mine = await ended_batch(store, 1_000)
    async with store.engine.begin() as connection:
        for table in ("jobs", "batches"):
            await connection.exec_driver_sql(f"ANALYZE {table}")
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, said, values, _x, _m: seen.append((said, values)),
    )
    assert await store.retention.remove_jobs(HOUR, 10) == 0
    assert await store.retention.remove_rows(mine.id, 10) == 10
    assert await store.retention.forget_batches(HOUR, 10) == 1
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    plans = []
    async with store.engine.connect() as connection:
        for said, values in [each for each in seen if not each[0].startswith("BEGIN")][:3]:
            found = await connection.exec_driver_sql(explain + said, values)
            plans.append("\n".join(str(row[-1]) for row in found))
    whole = "\n\n".join(plans)
    for plan, index in zip(
        plans, ("ix_jobs_kept", "ix_jobs_ended_rows", "ix_batches_kept"), strict=True
    ):
        assert index in plan, whole
