"""Rows that wait for long, or may not begin, hold no slot; what they came to is not forgotten."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import update

from models import Batch, Job, clock
from tests.batches import Woken, change, numbered, rows_of, settled
from tests.jobs import attempt, claimed
from worker.store import Store

HOUR = timedelta(hours=1)


async def begun(store: Store, count: int, **fields: Any) -> tuple[Batch, list[str]]:
    """A batch in progress, and the ids of its rows."""
    mine = await numbered(store, count, **fields)
    return mine, [job.id for job in await rows_of(store, mine)]


async def parked(store: Store, id: str, due: datetime | None = None, spent: float = 0.0) -> None:
    """Claim the row, and give it back so that it holds no slot until then."""
    job = await claimed(store, id)
    record = attempt(job)
    given_back = store.holds.defer(id, job.attempt, due, None, record, spent=spent, held=True)
    assert await given_back


async def is_due_now(store: Store, *ids: str) -> None:
    async with store.engine.begin() as connection:
        due = update(Job).where(Job.id.in_(ids)).values(scheduled_at=clock(-1.0))
        await connection.execute(due)


async def test_rows_that_wait_for_long_leave_their_slots_to_other_batches(store: Store) -> None:
    await store.holds.present(30, bulk_slots=2)
    _, waiting = await begun(store, 6)
    woken = Woken(store)
    assert await woken.dispatch() == waiting[:2]
    later = datetime.now(UTC) + HOUR
    for id in waiting[:2]:
        await parked(store, id, later)
    _, others = await begun(store, 3, tenant="other")
    assert await woken.dispatch() == others[:2]


async def test_a_batch_parks_no_more_rows_than_there_are_slots(store: Store) -> None:
    await store.holds.present(30, bulk_slots=2)
    _, mine = await begun(store, 9)
    woken = Woken(store)
    later = datetime.now(UTC) + HOUR
    assert await woken.dispatch() == mine[:2]
    await parked(store, mine[0], later)
    assert await woken.dispatch() == []  # one runs, one is parked
    await parked(store, mine[1], later)
    assert await woken.dispatch() == [] and woken.spent == 0


async def test_parked_rows_go_on_before_all_others_once_they_are_due(store: Store) -> None:
    await store.holds.present(30, bulk_slots=2)
    _, mine = await begun(store, 9)
    woken = Woken(store)
    await woken.dispatch()
    later = datetime.now(UTC) + HOUR
    await parked(store, mine[0], later)
    await parked(store, mine[1], later)
    await is_due_now(store, mine[1])
    assert await woken.dispatch() == [mine[1]]
    assert (await claimed(store, mine[1])).attempt == 2
    await is_due_now(store, mine[0])
    assert await woken.dispatch() == [mine[0]]


async def test_rows_of_a_paused_batch_that_wait_for_a_worker_are_not_begun(store: Store) -> None:
    await store.holds.present(30, bulk_slots=3)
    mine, ids = await begun(store, 5)
    woken = Woken(store)
    await woken.dispatch()
    running = await claimed(store, ids[0])
    assert await store.batches.pause(mine.id, "requested")
    assert await woken.dispatch() == []
    # Their wake-ups are still on their way.
    assert [await store.holds.claim(id, 30) for id in ids[1:]] == [None] * 4
    assert await store.sweeping.hasten(-1, 100) == []
    assert await store.sweeping.due(100) == []
    assert (await store.jobs.get(running.id)).state == "in_progress"
    await store.batches.resume(mine.id)
    assert await woken.dispatch() == ids[1:3]
    await claimed(store, ids[1])


async def test_rows_that_wait_for_a_worker_are_not_begun_once_the_window_is_closed(
    store: Store,
) -> None:
    await store.holds.present(30, bulk_slots=2)
    mine, ids = await begun(store, 5)
    woken = Woken(store)
    assert await woken.dispatch() == ids[:2]
    hour = datetime.now(UTC).hour
    await change(store, mine, run_window=f"{(hour + 2) % 24:02}:00-{(hour + 3) % 24:02}:00 UTC")
    assert await woken.dispatch() == []
    assert await store.holds.claim(ids[0], 30) is None
    _, others = await begun(store, 2, tenant="other")
    assert await woken.dispatch() == others


async def test_what_parked_rows_have_cost_counts_for_the_cap(store: Store) -> None:
    await store.holds.present(30, bulk_slots=2)
    mine, ids = await begun(store, 5, max_cost=1.0)
    await Woken(store).dispatch()
    await parked(store, ids[0], datetime.now(UTC) + HOUR, spent=0.25)
    await settled(store, ids[1], spent=0.5)
    assert (await store.batches.recent(mine)).cost == 0.75


async def test_parked_rows_end_with_their_batch_and_their_readers_are_told(store: Store) -> None:
    await store.holds.present(30, bulk_slots=1)
    mine, ids = await begun(store, 2)
    await Woken(store).dispatch()
    await parked(store, ids[0])
    await store.batches.cancel(mine.id)
    assert len(await store.tending.cancel(mine.id, 10)) == 2
    first, second = await rows_of(store, mine)
    assert (first.state, first.untouched) == ("cancelled", False)
    assert (second.state, second.untouched) == ("cancelled", True)
