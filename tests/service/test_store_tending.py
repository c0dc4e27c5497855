"""Tending: each ended row counts once, rows end in portions, batches when nothing is open."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import Batch, BatchStatus, Job, JobState
from tests.batches import (
    begins,
    begun,
    change,
    end_at_once,
    finished,
    inserted,
    row,
    rows_of,
    settled,
    taken,
)
from tests.jobs import attempt, ended
from tests.service.conftest import OpenStore
from worker.ids import new_id
from worker.store import Store, Tally

USAGE = {"prompt_tokens": 7, "completion_tokens": 3}


def ids(count: int) -> list[str]:
    return [new_id("job_") for _ in range(count)]


async def tally(store: Store, batch: Batch) -> Tally:
    return Tally.of((await store.batches.get(batch.id)).tally)


async def advanced(store: Store, batch: Batch, portion: int) -> list[int]:
    """What each turn counted, until nothing was left."""
    found = [await store.tending.advance(batch.id, portion)]
    while found[-1]:
        found.append(await store.tending.advance(batch.id, portion))
    return found[:-1]


@pytest.mark.parametrize("portion", [1, 3, 10, 1000])
async def test_rows_that_ended_at_one_moment_are_counted_once(store: Store, portion: int) -> None:
    mine = await begun(store, 30)
    assert await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 5, ago_s=100) == 5
    assert await end_at_once(store, mine, JobState.COMPLETED, Job.batch_row < 17, cost=0.5) == 12
    assert await end_at_once(store, mine, JobState.INCOMPLETE, Job.batch_row < 18, ago_s=40) == 1
    counted = await advanced(store, mine, portion)
    assert sum(counted) == 18
    assert counted[0] >= min(portion, 18)
    found = await tally(store, mine)
    assert (found.completed, found.failed, found.categories) == (13, 5, {"server": 5})
    assert (found.cost, found.priced, found.highest) == (6.0, 12, 0.5)
    assert await store.tending.advance(mine.id, portion) == 0
    assert await tally(store, mine) == found


async def test_several_copies_at_once_count_each_row_once(open_store: OpenStore) -> None:
    copies = [open_store(f"copy-{n}") for n in range(4)]
    mine = await begun(copies[0], 60)
    for last in range(5, 61, 5):
        await end_at_once(
            copies[0],
            mine,
            JobState.COMPLETED,
            Job.batch_row < last,
            ago_s=1000 - last,
            usage=USAGE,
        )
    while any(
        await asyncio.gather(*(each.tending.advance(mine.id, 7) for each in copies for _ in "12"))
    ):
        pass
    found = await tally(copies[0], mine)
    assert (found.completed, found.input_tokens, found.output_tokens) == (60, 420, 180)


async def test_what_ended_a_moment_ago_is_counted_later(store: Store) -> None:
    """Its transaction may be followed by one whose rows ended before."""
    mine = await begun(store, 2)
    await end_at_once(store, mine, JobState.COMPLETED, ago_s=1)
    assert await store.tending.advance(mine.id, 10) == 0
    assert (await store.batches.recent(mine)).completed == 2


async def test_tally_and_what_is_recent_are_the_whole_at_any_time(store: Store) -> None:
    mine = await begun(store, 12)
    for last in range(1, 13):
        state = JobState.FAILED if last % 4 == 0 else JobState.COMPLETED
        await end_at_once(
            store, mine, state, Job.batch_row < last, ago_s=100 - last, cost=float(last)
        )
    for _ in range(12):
        await store.tending.advance(mine.id, 1)
        now = await store.batches.get(mine.id)
        counted, recent = Tally.of(now.tally), await store.batches.recent(now)
        assert counted.completed + recent.completed == 9
        assert counted.failed + recent.failed == 3
        assert counted.cost + recent.cost == 78.0
        assert max(counted.highest, recent.highest) == 12.0


@pytest.mark.parametrize("counted_before", [True, False])
async def test_a_row_that_is_tried_again_counts_once(store: Store, counted_before: bool) -> None:
    mine = await begun(store, 4)
    columns = {"cost": 2.0, "usage": USAGE}
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 2, ago_s=100, **columns)
    await end_at_once(store, mine, JobState.COMPLETED, ago_s=90, cost=1.0, usage=USAGE)
    if counted_before:
        assert await advanced(store, mine, 1) == [2, 2]
        assert (await tally(store, mine)).failed == 2
    assert len(await store.tending.try_again(mine.id, None, ids(9))) == 2
    assert len(await store.tending.try_again(mine.id, None, ids(9))) == 0
    await advanced(store, mine, 10)
    found = await tally(store, mine)
    # What the failed ones have cost stays; their tokens are of attempts that no longer count.
    assert (found.completed, found.failed, found.categories) == (2, 0, {})
    assert (found.cost, found.highest) == (6.0, 2.0)
    assert (found.input_tokens, found.output_tokens) == (14, 6)
    assert await end_at_once(store, mine, JobState.COMPLETED, ago_s=50, cost=4.0) == 2
    await advanced(store, mine, 10)
    found = await tally(store, mine)
    assert (found.completed, found.failed, found.cost) == (4, 0, 14.0)


async def test_trying_again_takes_failed_rows_of_the_categories_in_portions(store: Store) -> None:
    mine = await begun(store, 7)
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 3)
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 4, error_category="billing")
    await end_at_once(store, mine, JobState.CANCELLED, Job.batch_row < 5)
    await end_at_once(store, mine, JobState.COMPLETED, Job.batch_row < 6)
    assert len(await store.tending.try_again(mine.id, [], ids(9))) == 0
    assert len(await store.tending.try_again(mine.id, ["poison"], ids(9))) == 0
    assert len(await store.tending.try_again(mine.id, ["server", "poison"], first := ids(2))) == 2
    assert len(await store.tending.try_again(mine.id, ["server"], ids(2))) == 1
    assert len(await store.tending.try_again(mine.id, ["server"], ids(2))) == 0
    rows = await rows_of(store, mine)
    places = [(job.batch_row, job.generation, job.superseded) for job in rows]
    assert places[:6] == [(n, g, g == 0) for n in range(3) for g in range(2)]
    assert places[6:] == [(n, 0, False) for n in range(3, 7)]
    again = rows[1]
    assert again.id == first[0] and again.held and again.state == JobState.QUEUED
    for name in ("tenant", "request", "custom_id", "model", "deadline_at", "lane"):
        assert getattr(again, name) == getattr(rows[0], name)
    assert (again.attempt, again.failures, again.finished_at, again.cost) == (0, 0, None, None)
    assert rows[0].state == JobState.FAILED
    assert len(await store.tending.try_again(mine.id, None, ids(9))) == 1


async def test_a_pass_over_the_failed_rows_comes_to_each_once(store: Store) -> None:
    mine = await begun(store, 5)
    await end_at_once(store, mine, JobState.FAILED)
    assert await store.tending.try_again(mine.id, None, ids(2)) == [0, 1]
    await end_at_once(store, mine, JobState.FAILED)  # those fail again, meanwhile
    assert await store.tending.try_again(mine.id, None, ids(2), 1) == [2, 3]
    assert await store.tending.try_again(mine.id, None, ids(2), 3) == [4]
    assert await store.tending.try_again(mine.id, None, ids(2), 4) == []
    assert await store.tending.try_again(mine.id, None, ids(9)) == [0, 1]


async def test_a_row_that_was_erased_is_not_tried_again(store: Store) -> None:
    mine = await begun(store, 2)
    await end_at_once(store, mine, JobState.FAILED)
    await store.jobs.erase((await rows_of(store, mine))[0].id)
    assert await store.tending.try_again(mine.id, None, ids(9)) == [1]
    assert await store.tending.failed_models(mine.id, None) == set()


async def test_rows_of_some_models_are_tried_again_and_their_metadata_stay(store: Store) -> None:
    mine = await taken(store)
    own = {"model": "other", "labels": '{"a":"b"}'}
    assert await inserted(store, mine, [row(0), row(1, **own), row(2, **own)])
    assert await store.intake.begin(mine, 3, None, {})
    await end_at_once(store, mine, JobState.FAILED)
    assert await store.tending.failed_models(mine.id, None) == {"other", "sim"}
    assert await store.tending.failed_models(mine.id, ["poison"]) == set()
    assert await store.tending.try_again(mine.id, None, ids(9), 1, ["other"]) == [2]
    assert await store.tending.try_again(mine.id, None, ids(9), models=["sim", "other"]) == [0, 1]
    last = (await rows_of(store, mine))[-1]
    assert (last.generation, last.model, last.labels) == (1, "other", {"a": "b"})


async def test_a_row_may_be_tried_again_more_than_once(store: Store) -> None:
    mine = await begun(store, 1)
    for generation in range(1, 4):
        await end_at_once(store, mine, JobState.FAILED, ago_s=100 - generation)
        await store.tending.advance(mine.id, 10)
        assert len(await store.tending.try_again(mine.id, None, ids(1))) == 1
        assert (await rows_of(store, mine))[-1].generation == generation
    assert (await tally(store, mine)).failed == 0


@pytest.mark.parametrize("status", ["validating", "cancelling", "finalizing"])
async def test_only_in_a_running_batch_rows_are_tried_again(store: Store, status: str) -> None:
    mine = await begun(store, 1)
    await end_at_once(store, mine, JobState.FAILED)
    await change(store, mine, status=status)
    assert len(await store.tending.try_again(mine.id, None, ids(1))) == 0
    assert len(await store.tending.try_again("batch_unknown", None, ids(1))) == 0


async def test_expiry_ends_queued_rows_only_and_in_portions(store: Store) -> None:
    mine, other = await begun(store, 6), await begun(store, 1)
    rows = await rows_of(store, mine)
    running = await begins(store, rows[0].id)
    await settled(store, rows[1].id)
    gone = [job for _ in range(3) for job in await store.tending.expire(mine.id, 3)]
    assert {job.batch_row for job in gone} == {2, 3, 4, 5} and len(gone) == 4
    for job in gone:
        assert (job.state, job.error_category) == ("failed", "deadline")
        assert (job.error_code, job.attempt) == ("batch_expired", 1) and job.finished_at
    assert not await store.tending.finish(mine.id)
    assert await store.holds.settle(ended(running), attempt(running))
    assert await store.tending.finish(mine.id)
    assert [job.state for job in await rows_of(store, other)] == ["queued"]


async def test_a_cancellation_takes_rows_from_those_who_hold_them(store: Store) -> None:
    mine = await begun(store, 5)
    rows = await rows_of(store, mine)
    running = await begins(store, rows[0].id)
    await settled(store, rows[1].id)
    await store.batches.cancel(mine.id)
    gone = [job for _ in range(3) for job in await store.tending.cancel(mine.id, 2)]
    assert {job.batch_row for job in gone} == {0, 2, 3, 4} and len(gone) == 4
    assert not await store.holds.settle(ended(running), attempt(running))
    assert await store.holds.renew({running.id: running.attempt}, 30) == set()
    (lost,) = [job for job in gone if job.id == running.id]
    assert (lost.attempt, lost.state, lost.lease_owner) == (2, "cancelled", None)
    assert await store.tending.finish(mine.id)


async def test_a_batch_finishes_once_no_row_is_open_and_only_then(store: Store) -> None:
    mine = await begun(store, 2)
    assert not await store.tending.finish(mine.id)
    first, second = await rows_of(store, mine)
    await settled(store, first.id)
    assert not await store.tending.finish(mine.id)
    await begins(store, second.id)
    assert not await store.tending.finish(mine.id)
    await end_at_once(store, mine)
    assert await store.batches.pause(mine.id, "requested")
    assert await store.tending.finish(mine.id)
    assert not await store.tending.finish(mine.id)
    found = await store.batches.get(mine.id)
    assert found.status == BatchStatus.FINALIZING and found.finalizing_at is not None
    assert found.paused_at is None


async def test_a_batch_that_is_read_in_does_not_finish(store: Store) -> None:
    mine = await taken(store)
    assert not await store.tending.finish(mine.id)
    assert not await store.tending.finish("batch_unknown")


async def test_a_batch_does_not_finish_while_rows_are_added_to_it(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    for _ in range(20):
        mine = await begun(us, 5)
        await end_at_once(us, mine, JobState.FAILED)
        again, over = await asyncio.gather(
            us.tending.try_again(mine.id, None, ids(5)), them.tending.finish(mine.id)
        )
        assert (len(again), over) in ((5, False), (0, True))
        open_rows = [job for job in await rows_of(us, mine) if job.finished_at is None]
        assert len(open_rows) == len(again)
        await change(us, mine, status="completed")  # or it would be taken for the next one


async def test_results_come_in_order_and_in_portions(store: Store) -> None:
    mine = await begun(store, 6)
    rows = await rows_of(store, mine)
    await settled(store, rows[4].id)
    await settled(store, rows[0].id, JobState.FAILED)
    assert len(await store.tending.try_again(mine.id, None, ids(1))) == 1
    await end_at_once(store, mine, JobState.COMPLETED, Job.generation == 1)
    await settled(store, rows[2].id)
    place, found = (-1, 0), []
    while portion := await store.tending.results(mine.id, place, 1):
        found += [(job.batch_row, job.generation, job.superseded) for job in portion]
        place = found[-1][0] or 0, found[-1][1]
    assert found == [(0, 0, True), (0, 1, False), (2, 0, False), (4, 0, False)]
    assert [job.batch_row for job in await store.tending.results(mine.id, (-1, 0), 2)] == [0, 0]
    asked = await store.tending.results_of_rows(mine.id, [0, 1, 2])
    assert {row: job.generation for row, job in asked.items()} == {0: 1, 2: 0}


async def test_a_pause_that_is_over_ends_and_others_stay(store: Store) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    over, stays, later = [await begun(store) for _ in range(3)]
    assert await store.batches.pause(over.id, "suspended", "no money", past)
    assert await store.batches.pause(stays.id, "requested")
    assert await store.batches.pause(later.id, "suspended", None, past + timedelta(hours=1))
    assert await store.tending.wake_paused() == [over.id]
    found = await store.batches.get(over.id)
    assert (found.paused_at, found.paused_until, found.pause_reason) == (None, None, None)
    assert await store.tending.wake_paused() == []


async def test_a_batch_without_rows_can_end(store: Store) -> None:
    mine = await taken(store)
    await store.batches.cancel(mine.id)
    assert await store.tending.cancel(mine.id, 10) == []
    assert (await finished(store, mine)).cancelling_at is not None


@given(
    ends=st.lists(
        st.tuples(
            st.sampled_from(JobState),
            st.sampled_from([None, "server", "billing"]),
            st.sampled_from([None, 0.0, 0.25, 2.0]),
            st.booleans(),
        )
    )
)
def test_counting_and_withdrawing_is_as_never_having_counted(
    ends: list[tuple[JobState, str | None, float | None, bool]],
) -> None:
    jobs = [
        Job(
            state=state.value,
            error_category=category,
            cost=cost,
            usage={"prompt_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}},
            superseded=False,
        )
        for state, category, cost, _ in ends
    ]
    withdrawn = Tally()
    for job in jobs:
        withdrawn.add(job)
    for job, (*_, again) in zip(jobs, ends, strict=True):
        if again:
            withdrawn.withdraw(job)
            job.superseded = True
    never = Tally()
    for job in jobs:
        never.add(job)
    assert withdrawn == never
    assert Tally.of(never.document()) == never
