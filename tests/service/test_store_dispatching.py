"""Dispatch: never more rows than slots, no row twice, in order, each batch by its limits."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event, insert

from models import Batch, Job, JobState, Lane
from tests.batches import (
    Woken,
    change,
    count,
    end_at_once,
    inserted,
    numbered,
    row,
    rows_of,
    settled,
    taken,
)
from tests.jobs import attempt, claimed, deferred, ended, queue, request
from tests.service.conftest import OpenStore
from worker.batch.dispatch import portions
from worker.ids import new_id
from worker.store import Claimant, Store, Wanted

HOUR = timedelta(hours=1)


def all_to(*batches: Batch) -> Any:
    """The share that gives the whole room to the first of the batches, then to the next."""

    def share(claimants: Sequence[Claimant], room: int) -> Wanted:
        asked = [each.id for each in claimants]
        wanted = [each.id for each in batches] or asked
        return Wanted({id: max(room, 0) if id == wanted[0] else 0 for id in wanted})

    return share


async def test_no_more_rows_are_released_than_there_are_slots(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    await numbered(us, 20)
    woken = Woken(us)
    assert await woken.turn() == []  # nobody is ready for any
    await us.holds.present(30, bulk_slots=3)
    assert await woken.turn() == [0, 1, 2]
    assert await woken.turn() == []
    await them.holds.present(30, bulk_slots=2)
    assert await woken.turn() == [3, 4]
    await settled(us, woken.ids[1])
    await us.holds.claim(woken.ids[0], 30)
    assert await woken.turn() == [5]
    assert await woken.turn() == []


async def test_bulk_jobs_of_no_batch_take_slots_while_they_run(store: Store) -> None:
    await store.holds.present(30, bulk_slots=4)
    await claimed(store, await queue(store, prompt="bulk", lane=Lane.BULK))
    await claimed(store, await queue(store, prompt="watched"))
    await queue(store, prompt="released", lane=Lane.BULK)
    await numbered(store, 10)
    woken = Woken(store)
    assert await woken.turn() == [0, 1]
    assert await woken.turn() == []


async def test_slots_of_dead_processes_do_not_count(open_store: OpenStore) -> None:
    us, dead = open_store("us"), open_store("dead")
    await numbered(us, 10)
    await dead.holds.present(-1, bulk_slots=5)
    await us.holds.present(30, bulk_slots=2)
    woken = Woken(us)
    assert await woken.turn() == [0, 1]
    await us.holds.present(30, bulk_slots=1)  # fewer than run
    assert await woken.turn() == []


async def test_rows_of_a_batch_that_is_being_cancelled_take_slots_and_get_none(
    store: Store,
) -> None:
    await store.holds.present(30, bulk_slots=5)
    woken = Woken(store)
    first = await numbered(store, 3)
    assert await woken.turn() == [0, 1, 2]
    await store.batches.cancel(first.id)
    await numbered(store, 10)
    assert await woken.turn() == [0, 1]


async def test_a_share_that_wants_more_than_there_is_gets_what_there_is(store: Store) -> None:
    mine = await numbered(store, 3)
    await store.holds.present(30, bulk_slots=100)
    released = await store.dispatching.release(all_to(mine))
    assert released is not None
    assert [len(ids) for ids in released.ids.values()] == [3] and released.spent == []


async def test_a_row_that_is_tried_again_comes_before_all_that_were_not(store: Store) -> None:
    mine = await numbered(store, 10)
    await store.holds.present(30, bulk_slots=3)
    woken = Woken(store)
    assert await woken.turn() == [0, 1, 2]
    await settled(store, woken.ids[1], JobState.FAILED)
    assert len(await store.tending.try_again(mine.id, None, [f"{new_id('job_')}-1001"])) == 1
    assert await woken.turn() == [1001]
    for id in woken.ids[:1] + woken.ids[2:]:
        await settled(store, id)
    assert await woken.turn() == [3, 4, 5]


async def test_a_paused_batch_gets_nothing_until_it_is_resumed(store: Store) -> None:
    mine = await numbered(store, 5)
    await store.holds.present(30, bulk_slots=5)
    assert await store.batches.pause(mine.id, "requested")
    woken = Woken(store)
    assert await woken.turn() == []
    await store.batches.resume(mine.id)
    assert await woken.turn() == [0, 1, 2, 3, 4]


async def test_a_batch_whose_time_is_over_gets_nothing(store: Store) -> None:
    await numbered(store, 5, expires_at=datetime.now(UTC) - HOUR)
    await store.holds.present(30, bulk_slots=5)
    assert await Woken(store).turn() == []


async def test_a_batch_that_fails_too_often_is_paused_and_says_why(store: Store) -> None:
    mine = await numbered(store, 40, max_failed_ratio=0.5)
    await end_at_once(store, mine, JobState.FAILED, ago_s=0)
    other = await numbered(store, 1)
    await store.holds.present(30, bulk_slots=3)
    assert await Woken(store).turn() == [0]
    paused = await store.batches.get(mine.id)
    assert paused.pause_reason == "max_failed_ratio" and paused.paused_until is None
    assert "40 of 40 ended rows have failed" in (paused.pause_message or "")
    assert (await store.batches.get(other.id)).paused_at is None


async def test_a_spending_cap_bounds_what_is_released_and_then_pauses(store: Store) -> None:
    mine = await taken(store, max_cost=1.0)
    rows = [row(n, id=f"{new_id('job_')}-{n}") for n in range(20)]
    assert await inserted(store, mine, rows)
    assert await store.intake.begin(mine, 20, "sim", {"reserve": 0.25})
    await store.holds.present(30, bulk_slots=10)
    woken = Woken(store)
    assert await woken.turn() == [0, 1, 2, 3]  # four of them may cost all there is
    assert await woken.turn() == []
    for id in woken.ids[:4]:
        await settled(store, id, spent=0.125)
    for few in ([4, 5], [6], [7]):  # they cost half of what was feared; the others still may
        assert await woken.turn() == few
        for id in woken.ids[-len(few) :]:
            await settled(store, id, spent=0.125)
    assert await woken.turn() == []
    assert (await store.batches.get(mine.id)).pause_reason == "max_cost"
    await store.batches.resume(mine.id, max_cost=1.25)
    assert await woken.turn() == [8]


async def test_several_copies_at_once_release_no_row_twice_and_never_exceed_the_slots(
    open_store: OpenStore,
) -> None:
    copies = [open_store(f"copy-{number}") for number in range(4)]
    first, second = await numbered(copies[0], 60), await numbered(copies[0], 60, tenant="other")
    dispatchers = [Woken(copy) for copy in copies for _ in range(2)]
    released: list[str] = []
    for slots in range(10, 121, 10):
        await copies[0].holds.present(30, bulk_slots=slots)
        # A dispatch that finds another under way leaves the work to it; one is always first.
        await asyncio.gather(*(each.turn() for each in dispatchers))
        released = [id for each in dispatchers for id in each.ids]
        assert len(released) == slots
    assert len(set(released)) == 120
    numbers = [job.held for each in (first, second) for job in await rows_of(copies[0], each)]
    assert not any(numbers)


async def test_spent_batches_are_told(store: Store) -> None:
    mine = await numbered(store, 2)
    await store.holds.present(30, bulk_slots=5)
    woken = Woken(store)
    await woken.turn()
    for id in woken.ids:
        assert woken.spent == 0  # something runs
        await settled(store, id)
    released = await store.dispatching.release(all_to(mine))
    assert released is not None and (released.ids, released.spent) == ({}, [mine.id])
    await woken.turn()
    assert woken.spent == 1


async def test_without_a_batch_in_progress_nobody_is_asked(store: Store) -> None:
    await store.holds.present(30, bulk_slots=5)
    mine = await taken(store)
    await inserted(store, mine, [row(0)])
    released = await store.dispatching.release(all_to(mine))
    assert released is not None and (released.ids, released.spent) == ({}, [])


async def test_wake_ups_carry_few_rows_and_end_where_the_broker_takes_none(store: Store) -> None:
    assert [len(each) for each in portions([str(n) for n in range(500)], 1)] == [16] * 31 + [4]
    assert [len(each) for each in portions([str(n) for n in range(20)], 3)] == [4] * 5
    assert [len(each) for each in portions(["1"], 9)] == [1] and portions([], 0) == []
    await numbered(store, 20)
    await store.holds.present(30, bulk_slots=20)
    woken = Woken(store, takes=False)
    assert await woken.turn() == list(range(10))
    # No minute passes until the sweep sends those that the broker did not take.
    assert {int(each.id.rpartition("-")[2]) for each in await store.sweeping.due(99)} == set(
        range(20)
    )


async def test_held_rows_are_not_woken_and_released_ones_only_after_a_minute(
    store: Store,
) -> None:
    mine = await numbered(store, 20)
    assert await store.sweeping.due(100) == []
    await store.holds.present(30, bulk_slots=2)
    woken = Woken(store)
    await woken.turn()
    assert await store.sweeping.due(100) == []
    assert await store.sweeping.hasten(30, 100) == []
    assert set(await store.sweeping.hasten(-1, 100)) == set(woken.ids)
    assert {each.id for each in await store.sweeping.due(100)} == set(woken.ids)
    held = [job for job in await rows_of(store, mine) if job.held]
    assert len(held) == 18 and {job.wakes for job in held} == {0}


async def test_what_is_past_its_deadline_is_ended_by_its_batch_not_by_the_sweep(
    store: Store,
) -> None:
    past = datetime.now(UTC) - HOUR
    # Workers were away: the grace of running rows is over, too.
    mine = await numbered(store, 3, expires_at=past)
    await queue(store, deadline_at=past)
    (job,) = await store.sweeping.overdue(100)
    assert job.batch_id is None
    ended = await store.tending.expire(mine.id, 100)
    assert {job.error_code for job in ended} == {"batch_expired"} and len(ended) == 3


async def statements(store: Store, backend: str, step: Any) -> list[tuple[str, str]]:
    """Each statement of the step about jobs, and how the database goes about it."""
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE jobs")
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: seen.append((statement, values)),
    )
    await step
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    plans = []
    async with store.engine.connect() as connection:
        for statement, values in tuple(seen):
            if "jobs" in statement:
                found = await connection.exec_driver_sql(explain + statement, values)
                plans.append((statement, "\n".join(str(row[-1]) for row in found)))
    return plans


async def test_rows_are_found_by_index(store: Store, backend: str) -> None:
    limited = {"max_cost": 1e6, "max_failed_ratio": 0.5}
    for _ in range(4):
        mine = await numbered(store, 1000, **limited)
    await end_at_once(store, mine, JobState.COMPLETED)
    await store.holds.present(30, bulk_slots=10)
    found = await statements(store, backend, Woken(store).turn())
    assert len(found) > 4
    for statement, plan in found:
        # An index of what is in progress alone may be read from one end to the other.
        rest = plan.replace("SCAN jobs USING INDEX ix_jobs_leased", "")
        assert "Seq Scan on jobs" not in rest and "SCAN jobs" not in rest, statement + plan
    parked = [plan for statement, plan in found if "started_at IS NOT NULL" in statement]
    assert len(parked) == 5 and all("ix_jobs_parked" in plan for plan in parked), parked
    _, update = next(each for each in found if "UPDATE jobs" in each[0])
    assert "ix_jobs_open_rows" in update
    assert "Sort" not in update and "TEMP B-TREE" not in update, update
    # The spent batch had two of the slots, until it is led to its end.
    assert await count(store, Job.held, Job.finished_at.is_(None)) == 2992


async def test_a_batch_paused_until_a_moment_goes_on_by_itself(store: Store) -> None:
    mine = await numbered(store, 2)
    await store.holds.present(30, bulk_slots=2)
    until = datetime.now(UTC) + HOUR
    assert await store.batches.pause(mine.id, "suspended", "no money", until)
    woken = Woken(store)
    assert await woken.turn() == [] and await store.tending.wake_paused() == []
    await change(store, mine, paused_until=datetime.now(UTC) - HOUR)
    assert await store.tending.wake_paused() == [mine.id]
    assert await woken.turn() == [0, 1]


async def test_tenants_get_as_much_as_each_other(store: Store) -> None:
    ours = [await numbered(store, 10) for _ in range(3)]
    theirs = await numbered(store, 10, tenant="other")
    await store.holds.present(30, bulk_slots=12)
    await Woken(store).turn()
    released = {
        each.id: [job.held for job in await rows_of(store, each)].count(False)
        for each in (*ours, theirs)
    }
    assert released == {**{each.id: 2 for each in ours}, theirs.id: 6}


async def single(store: Store, prompt: str, tenant: str = "default", **fields: Any) -> str:
    """A bulk job that is in no batch, and waits for its release."""
    given = request(prompt, lane=Lane.BULK, **fields)
    job, _ = await store.jobs.insert(
        given, id=new_id("job_"), tenant=tenant, deadline_s=3600, held=True
    )
    return job.id


async def test_bulk_jobs_of_no_batch_wait_for_slots_as_rows_do(store: Store) -> None:
    ids = [await single(store, str(n)) for n in range(5)]
    await store.holds.present(30, bulk_slots=3)
    woken = Woken(store)
    assert await store.sweeping.due(10) == []
    await woken.dispatch()
    assert woken.ids == ids[:3]  # the oldest first
    await woken.dispatch()
    assert woken.ids == ids[:3]
    job = await claimed(store, ids[0])
    await store.holds.settle(ended(job), attempt(job))
    await woken.dispatch()
    assert woken.ids == ids[:4]


async def test_tenants_share_the_slots_whether_their_jobs_are_rows_or_not(store: Store) -> None:
    await numbered(store, 20)
    mine = [await single(store, str(n), "other") for n in range(20)]
    await store.holds.present(30, bulk_slots=10)
    woken = Woken(store)
    await woken.dispatch()
    assert len(woken.ids) == 10 and len(set(mine) & set(woken.ids)) == 5


async def test_a_job_that_waits_long_for_its_next_attempt_leaves_its_slot(store: Store) -> None:
    first, second = await single(store, "first"), await single(store, "second")
    await store.holds.present(30, bulk_slots=1)
    woken = Woken(store)
    await woken.dispatch()
    job = await claimed(store, first)
    await deferred(store.holds, attempt(job), datetime.now(UTC) + HOUR)
    await woken.dispatch()
    assert woken.ids == [first, second]


async def test_tenants_are_found_by_index_however_many_jobs_wait(
    store: Store, backend: str
) -> None:
    now = datetime.now(UTC)
    common: dict[str, Any] = {
        "request": {}, "request_hash": "", "model": "sim", "lane": "bulk", "state": "queued",
        "held": True, "deadline_at": now + HOUR, "wake_at": now,
    }  # fmt: skip
    over = {"state": "completed", "held": False, "finished_at": now}
    rows = [
        {**common, "finished_at": None, **more, "id": new_id("job_"), "tenant": f"tenant-{n % 3}"}
        for more, count in (({}, 1_000), (over, 5_000))
        for n in range(count)
    ]
    async with store.engine.begin() as connection:
        await connection.execute(insert(Job), rows)
        await connection.exec_driver_sql("ANALYZE jobs")
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: seen.append((statement, values)),
    )
    await store.holds.present(30, bulk_slots=6)
    woken = Woken(store)
    await woken.dispatch()
    assert len(woken.ids) == 6
    (statement, values) = next(one for one in seen if "RECURSIVE" in one[0])
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    async with store.engine.connect() as connection:
        found = await connection.exec_driver_sql(explain + statement, values)
        plan = "\n".join(str(row[-1]) for row in found)
    assert "ix_jobs_waiting" in plan and "Seq Scan on jobs" not in plan
