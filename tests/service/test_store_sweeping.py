"""The sweep's side: small portions, in several copies, no job twice, each by its index."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, insert, update

from models import Job, JobState, Lane
from tests.jobs import attempt, claimed, ended, new_id, queue
from tests.service.conftest import OpenStore
from worker.store import Store

PAST = timedelta(seconds=-1)
Step = Callable[[Store, int], Awaitable[Any]]
STEPS: dict[str, tuple[Step, str]] = {
    "due": (lambda store, limit: store.sweeping.due(limit), "ix_jobs_queued"),
    "rescue": (lambda store, limit: store.sweeping.rescue(limit), "ix_jobs_leased"),
    "overdue": (lambda store, limit: store.sweeping.overdue(limit), "ix_jobs_deadline"),
    "webhooks": (
        lambda store, limit: store.webhooks.jobs(Lane.BULK, limit, 60.0),
        "ix_jobs_webhook",
    ),
}
COLUMNS = {
    "due": "wake_at",
    "rescue": "lease_until",
    "overdue": "deadline_at",
    "webhooks": "webhook_due_at",
}


async def fill(store: Store, count: int, state: str = "queued", **columns: object) -> list[str]:
    """Insert many jobs at once; their moments are in the past where nothing else is said."""
    now = datetime.now(UTC)
    row: dict[str, object] = {
        "request": {},
        "request_hash": "",
        "model": "sim",
        "lane": "bulk",
        "state": state,
    }
    row["state"] = state
    row |= {"deadline_at": now + timedelta(hours=1), "wake_at": now + PAST}
    if state == "in_progress":
        row |= {"lease_owner": "dead", "lease_until": now + PAST, "attempt": 1}
    ids = [new_id() for _ in range(count)]
    async with store.engine.begin() as connection:
        await connection.execute(insert(Job), [{**row, **columns, "id": id} for id in ids])
    return ids


async def set_columns(store: Store, id: str, **columns: object) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(columns))


async def ready(store: Store, step: str, count: int) -> list[str]:
    """Jobs that the step is to take."""
    if step == "rescue":
        return await fill(store, count, "in_progress")
    past = datetime.now(UTC) + PAST
    if step == "webhooks":
        return await fill(store, count, "completed", finished_at=past, webhook_due_at=past)
    return (
        await fill(store, count, deadline_at=past)
        if step == "overdue"
        else await fill(store, count)
    )


async def test_a_new_job_gets_its_wake_up_again_only_after_a_minute(store: Store) -> None:
    id = await queue(store)
    assert await store.sweeping.due(10) == []
    row = await store.jobs.get(id)
    assert row.wake_at - row.created_at == pytest.approx(
        timedelta(minutes=1), abs=timedelta(seconds=1)
    )


async def test_a_scheduled_job_gets_its_first_wake_up_when_it_is_due(store: Store) -> None:
    now = datetime.now(UTC)
    await queue(store, prompt="later", scheduled_at=now + timedelta(hours=1))
    id = await queue(store, prompt="due", scheduled_at=now + PAST)
    assert [due.id for due in await store.sweeping.due(10)] == [id]


async def test_the_interval_between_wake_ups_doubles_up_to_an_hour(store: Store) -> None:
    id = await queue(store, lane=Lane.BULK)
    intervals = []
    for _ in range(8):
        now = datetime.now(UTC)
        await set_columns(store, id, wake_at=now + PAST)
        assert await store.sweeping.due(10) == [(id, "bulk")]
        assert await store.sweeping.due(10) == []
        intervals.append(round(((await store.jobs.get(id)).wake_at - now).total_seconds() / 60))
    assert intervals == [2, 4, 8, 16, 32, 64, 64, 64]


async def test_a_wake_up_that_the_broker_refused_is_sent_at_the_next_turn(store: Store) -> None:
    id = await queue(store)
    await store.jobs.wake_soon(id)
    assert [due.id for due in await store.sweeping.due(10)] == [id]


async def test_what_runs_or_has_ended_is_not_woken(store: Store) -> None:
    past = datetime.now(UTC) + PAST
    running = await claimed(store, await queue(store, prompt="running"))
    done = await claimed(store, await queue(store, prompt="done"))
    await store.holds.settle(ended(done), attempt(done))
    for job in (running, done):
        await set_columns(store, job.id, wake_at=past, deadline_at=past)
    await store.jobs.wake_soon(running.id)
    assert await store.sweeping.due(10) == []
    assert await store.sweeping.overdue(10) == []


async def test_an_expired_lease_is_rescued_and_charged(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    lost = await claimed(us, await queue(us, prompt="lost"), lease_s=-1)
    await claimed(us, await queue(us, prompt="live"))
    (job,) = await sweep.sweeping.rescue(10)
    assert (job.id, job.state, job.attempt, job.crashes) == (lost.id, "queued", 2, 1)
    assert (job.lease_owner, job.lease_until, job.failures) == (None, None, 0)
    assert await sweep.sweeping.rescue(10) == []
    assert [due.id for due in await sweep.sweeping.due(10)] == [lost.id]


async def test_a_queued_job_past_its_deadline_fails(store: Store) -> None:
    id = await queue(store, deadline_at=datetime.now(UTC) + PAST)
    await queue(store, prompt="in time")
    (job,) = await store.sweeping.overdue(10)
    assert (job.id, job.state, job.attempt, job.error_category) == (id, "failed", 1, "deadline")
    assert job.finished_at is not None
    assert await store.sweeping.overdue(10) == []
    assert await store.holds.claim(id, 30) is None


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_takes_no_more_than_its_portion_the_oldest_first(
    store: Store, step: str
) -> None:
    take, _ = STEPS[step]
    now = datetime.now(UTC)
    column = COLUMNS[step]
    ids = await ready(store, step, 30)
    for age, id in enumerate(ids):
        await set_columns(store, id, **{column: now - timedelta(seconds=100 + age)})
    taken = [job.id for _ in range(4) for job in await take(store, 7)]
    assert len(taken) == 28
    assert set(taken) == set(ids[2:])


@pytest.mark.parametrize("step", STEPS)
async def test_several_copies_at_once_take_no_job_twice(open_store: OpenStore, step: str) -> None:
    copies = [open_store(f"copy-{number}") for number in range(4)]
    take, _ = STEPS[step]
    ids = await ready(copies[0], step, 120)
    portions: list[Any] = []
    while len(portions) < 4 or any(portions[-4:]):
        portions += await asyncio.gather(*(take(copy, 13) for copy in copies))
        assert all(len(portion) <= 13 for portion in portions)
    taken = [job.id for portion in portions for job in portion]
    assert sorted(taken) == sorted(ids)


async def plan(store: Store, backend: str, step: Awaitable[Any]) -> str:
    """How the database goes about the step's first statement."""
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE jobs")
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: seen.append((statement, values)),
    )
    await step
    (statement, values) = next(one for one in seen if not one[0].startswith("BEGIN"))
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    async with store.engine.connect() as connection:
        rows = await connection.exec_driver_sql(explain + statement, values)
        return "\n".join(str(row[-1]) for row in rows)


@pytest.mark.parametrize("step", STEPS)
async def test_a_step_finds_its_rows_by_index(store: Store, backend: str, step: str) -> None:
    await fill(store, 1000, JobState.COMPLETED.value)
    later = datetime.now(UTC) + timedelta(hours=1)
    past = datetime.now(UTC) + PAST
    await fill(store, 1000, wake_at=later, webhook_due_at=past)
    await fill(store, 1000, "in_progress", lease_until=later)
    await ready(store, step, 3)
    take, index = STEPS[step]
    found = await plan(store, backend, take(store, 10))
    # Searched by the moment, not merely read from one end to the other.
    column = COLUMNS[step]
    lane = r"(lane=\? AND )?"
    searched = rf"{index} \({lane}{column}<\?\)|{index} on jobs .*\n *Index Cond: .*\({column} <="
    assert re.search(searched, found), found
    assert "Seq Scan on jobs" not in found


async def test_wake_ups_that_may_have_died_with_a_process_are_sent_again_at_once(
    store: Store,
) -> None:
    now = datetime.now(UTC)

    def in_(seconds: float) -> datetime:
        return now + timedelta(seconds=seconds)

    oldest, old = [(await fill(store, 1, wake_at=in_(s), wakes=1))[0] for s in (20, 30)]
    (again,) = await fill(store, 1, wake_at=in_(90), wakes=2)
    await fill(store, 1, wake_at=in_(55), wakes=1)  # sent five seconds ago
    await fill(store, 1, wake_at=in_(115), wakes=2)  # the second time, as long ago
    await fill(store, 1, wake_at=in_(20))  # deferred: none was sent yet
    assert set(await store.sweeping.hasten(10, 2)) == {oldest, old}
    assert await store.sweeping.hasten(10, 10) == [again]
    assert await store.sweeping.hasten(10, 10) == []
    assert {job.id for job in await store.sweeping.due(10)} == {oldest, old, again}
    wakes = {id: (await store.jobs.get(id)).wakes for id in (oldest, old, again)}
    assert wakes == {oldest: 1, old: 1, again: 2}


async def test_wake_ups_are_hastened_by_index(store: Store, backend: str) -> None:
    await fill(store, 2000, wake_at=datetime.now(UTC) + timedelta(hours=1))
    found = await plan(store, backend, store.sweeping.hasten(10, 10))
    assert "ix_jobs_queued" in found and "Seq Scan on jobs" not in found


async def test_jobs_of_a_dead_process_wait_behind_nobody(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    ids = {(await claimed(us, await queue(us, prompt=str(n)), lease_s=-1)).id for n in range(5)}
    assert {job.id for job in await sweep.sweeping.rescue(500)} == ids
    found = await asyncio.gather(*(us.holds.claim(id, 30) for id in ids))
    assert {job.attempt for job in found if job is not None} == {3}
