"""Batches as their owners see them: pages, pauses, cancellations, and what rows came to lately."""

from datetime import UTC, datetime, timedelta

import pytest

from models import Batch, BatchStatus, Job, JobState
from tests.batches import batch, begun, change, end_at_once, rows_of, taken
from worker.batch.limits import PauseReason
from worker.errors import BatchNotFound, Category, UpstreamError
from worker.ids import new_id
from worker.store import Recent, Store, Wanted

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
SPENT = UpstreamError(Category.BILLING, "insufficient_quota", 429, "no money")
ENDED = [status for status in BatchStatus if status.terminal]
CLOSED = [*ENDED, BatchStatus.FINALIZING, BatchStatus.CANCELLING]


async def test_a_new_batch_waits_to_be_read_in(store: Store) -> None:
    mine = await store.batches.add(batch(labels={"order": "7\u00e4"}, max_cost=0.1))
    assert (mine.status, mine.total, mine.tally) == ("validating", 0, None)
    assert (mine.labels, mine.max_cost, mine.errors) == ({"order": "7\u00e4"}, 0.1, None)
    assert (mine.mixed_models, mine.priority, mine.webhook_tries) == (False, 0, 0)
    assert mine.created_at is not None and mine.paused_at is None


async def test_a_batch_that_is_added_again_stays_as_it_is(store: Store) -> None:
    mine = await begun(store, 1)
    again = await store.batches.add(batch(id=mine.id, priority=7))
    assert (again.status, again.priority) == ("in_progress", 0)


async def test_a_batch_is_seen_by_its_tenant_alone(store: Store) -> None:
    mine = await store.batches.add(batch())
    assert (await store.batches.get(mine.id, "default")).id == mine.id
    for id, tenant in ((mine.id, "other"), ("batch_unknown", "default"), ("batch_\0", None)):
        with pytest.raises(BatchNotFound):
            await store.batches.get(id, tenant)


@pytest.mark.parametrize("limit", [1, 3, 100])
async def test_pages_have_each_batch_once_newest_first(store: Store, limit: int) -> None:
    ids = [f"batch_{age}{twin}" for age in range(4) for twin in "ab"]
    for id in ids:
        created = NOW + timedelta(minutes=int(id[6]))
        await store.batches.add(batch(id=id, created_at=created))
    await store.batches.add(batch(tenant="other", created_at=NOW))
    found: list[Batch] = []
    while page := await store.batches.page("default", limit, found[-1] if found else None):
        assert len(page) <= limit
        found += page
    assert [each.id for each in found] == ids[::-1]


async def test_open_batches_are_told_oldest_first_and_children_of_one(store: Store) -> None:
    made = []
    for age, status in enumerate(BatchStatus):
        fresh = batch(status=status.value, created_at=NOW - timedelta(minutes=age))
        made.append(await store.batches.add(fresh))
    found = [each.status for each in await store.batches.open()]
    assert found == ["cancelling", "finalizing", "in_progress", "validating"]
    parent = made[0].id
    for age in (1, 2):
        created = NOW - timedelta(minutes=age)
        await store.batches.add(batch(id=f"batch_{age}", retry_of=parent, created_at=created))
    assert [each.id for each in await store.batches.children(parent)] == ["batch_2", "batch_1"]
    assert await store.batches.children("batch_1") == []


async def test_a_pause_keeps_its_reason_until_it_is_resumed(store: Store) -> None:
    mine = await begun(store)
    assert await store.batches.pause(mine.id, PauseReason.REQUESTED, "wait\0")
    first = await store.batches.get(mine.id)
    assert (first.pause_reason, first.pause_message) == ("requested", "wait\ufffd")
    assert first.paused_at is not None and first.paused_until is None
    later = datetime.now(UTC) + timedelta(hours=1)
    assert not await store.batches.pause(mine.id, PauseReason.MAX_COST)
    assert not await store.batches.pause(mine.id, PauseReason.SUSPENDED, None, later)
    again = await store.batches.get(mine.id)
    assert (again.pause_reason, again.paused_at) == ("requested", first.paused_at)
    resumed = await store.batches.resume(mine.id)
    assert (resumed.paused_at, resumed.pause_reason, resumed.pause_message) == (None, None, None)
    assert await store.batches.pause(mine.id, PauseReason.MAX_COST)


async def test_a_pause_that_ends_by_itself_gives_way_to_any_other(store: Store) -> None:
    mine = await begun(store)
    until = datetime.now(UTC) + timedelta(hours=1)
    assert await store.batches.pause(mine.id, PauseReason.SUSPENDED, "no money", until)
    first = await store.batches.get(mine.id)
    assert first.paused_until is not None
    assert abs(first.paused_until - until) < timedelta(seconds=1)
    assert await store.batches.pause(mine.id, PauseReason.REQUESTED)
    found = await store.batches.get(mine.id)
    assert (found.pause_reason, found.paused_until) == ("requested", None)
    assert (found.pause_message, found.paused_at) == (None, first.paused_at)


async def test_resuming_may_set_other_limits_and_keeps_those_not_given(store: Store) -> None:
    mine = await begun(store, max_cost=1.5)
    assert (await store.batches.resume(mine.id)).max_cost == 1.5
    found = await store.batches.resume(mine.id, max_failed_ratio=0.25)
    assert (found.max_cost, found.max_failed_ratio) == (1.5, 0.25)
    found = await store.batches.resume(mine.id, 2.5)
    assert (found.max_cost, found.max_failed_ratio) == (2.5, 0.25)


async def test_a_limit_that_was_raised_meanwhile_pauses_nothing(store: Store) -> None:
    seen = await begun(store, max_cost=1.0)
    # One dispatcher pauses the batch, its owner resumes it; then a slow one comes.
    assert await store.batches.pause(seen.id, "max_cost", seen=seen)
    raised = await store.batches.resume(seen.id, max_cost=2.0)
    assert not await store.batches.pause(seen.id, "max_cost", seen=seen)
    assert (await store.batches.get(seen.id)).paused_at is None
    assert await store.batches.pause(seen.id, "max_cost", seen=raised)
    raised = await store.batches.resume(seen.id, max_failed_ratio=0.5)
    assert not await store.batches.pause(seen.id, "max_failed_ratio", seen=seen)
    assert await store.batches.pause(seen.id, "max_failed_ratio", seen=raised)


async def test_a_batch_that_is_read_in_can_be_paused_and_begins_so(store: Store) -> None:
    mine = await taken(store)
    assert await store.batches.pause(mine.id, PauseReason.REQUESTED)
    assert await store.intake.begin(mine, 0, None, {})
    assert (await store.batches.get(mine.id)).pause_reason == "requested"


@pytest.mark.parametrize("status", CLOSED)
async def test_what_has_ended_or_is_about_to_is_neither_paused_nor_changed(
    store: Store, status: BatchStatus
) -> None:
    mine = await store.batches.add(batch(status=status.value))
    assert not await store.batches.pause(mine.id, PauseReason.REQUESTED)
    assert (await store.batches.resume(mine.id, max_cost=7.0)).max_cost is None
    cancelled = await store.batches.cancel(mine.id)
    assert (cancelled.status, cancelled.cancelling_at) == (status, None)


async def test_a_cancellation_ends_pause_and_lease(store: Store) -> None:
    mine = await taken(store)
    assert await store.batches.pause(mine.id, PauseReason.REQUESTED)
    found = await store.batches.cancel(mine.id)
    assert (found.status, found.paused_at, found.lease_owner) == ("cancelling", None, None)
    assert found.cancelling_at is not None
    assert (await store.batches.cancel(mine.id)).cancelling_at == found.cancelling_at
    with pytest.raises(BatchNotFound):
        await store.batches.cancel("batch_unknown")


async def test_recent_sums_are_of_what_ended_after_the_tally(store: Store) -> None:
    mine = await begun(store, 10)
    assert await store.batches.recent(mine) == Recent()
    done, failed = JobState.COMPLETED, JobState.FAILED
    await end_at_once(store, mine, done, Job.batch_row < 2, ago_s=100, cost=8.0)
    assert await store.tending.advance(mine.id, 10) == 2
    mine = await store.batches.get(mine.id)
    assert await store.batches.recent(mine) == Recent()
    await end_at_once(store, mine, done, Job.batch_row < 4, ago_s=50, cost=1.0)
    await end_at_once(store, mine, JobState.INCOMPLETE, Job.batch_row < 5, ago_s=1)
    await end_at_once(store, mine, failed, Job.batch_row < 6, ago_s=1, cost=2.0)
    await end_at_once(store, mine, JobState.CANCELLED, Job.batch_row < 7, ago_s=0)
    assert await store.batches.recent(mine) == Recent(3, 2, 4.0, 2.0)


async def test_recent_costs_have_what_runs_and_what_was_tried_again(store: Store) -> None:
    mine = await begun(store, 3)
    first = (await rows_of(store, mine))[0]
    await store.holds.present(30, bulk_slots=1)
    assert await store.dispatching.release(lambda _, room: Wanted({mine.id: room}))
    job = await store.holds.claim(first.id, 30)
    assert job is not None
    assert await store.holds.next_attempt(job.id, job.attempt, "failures", None, spent=0.5)
    assert await store.batches.recent(mine) == Recent(cost=0.5)
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row == 0)
    assert await store.batches.recent(mine) == Recent(failed=1, cost=0.5, highest=0.5)
    assert len(await store.tending.try_again(mine.id, None, [new_id("job_")])) == 1
    assert await store.batches.recent(mine) == Recent(cost=0.5, highest=0.5)


async def test_lifting_a_suspension_resumes_batches_that_are_paused_for_it(store: Store) -> None:
    suspension = await store.suspensions.suspend(
        base_url="http://a/v1",
        key_fingerprint="f" * 16,
        model="*",
        upstream="lifted",
        error=SPENT,
        for_s=60,
    )
    waits, later, asked = [await begun(store) for _ in range(3)]
    end = suspension.until
    assert await store.batches.pause(waits.id, PauseReason.SUSPENDED, "no money", end)
    after = end + timedelta(hours=1)
    assert await store.batches.pause(later.id, PauseReason.SUSPENDED, "no money", after)
    assert await store.batches.pause(asked.id, PauseReason.REQUESTED)
    assert await store.suspensions.lift("nobody") == 0
    assert (await store.batches.get(waits.id)).pause_reason == "suspended"
    assert await store.suspensions.lift("lifted") == 1
    reasons = [(await store.batches.get(each.id)).pause_reason for each in (waits, later, asked)]
    assert reasons == [None, "suspended", "requested"]
    assert (await store.batches.get(waits.id)).paused_until is None


async def test_a_pause_for_a_suspension_ends_with_it(store: Store) -> None:
    mine = await begun(store)
    until = datetime.now(UTC) + timedelta(hours=1)
    assert await store.batches.pause(mine.id, PauseReason.SUSPENDED, "no money", until)
    assert await store.tending.wake_paused() == []
    await change(store, mine, paused_until=datetime.now(UTC) - timedelta(seconds=1))
    assert await store.tending.wake_paused() == [mine.id]
