"""Holding a job: the attempt is the fence, and whoever is behind it changes nothing."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from models import Job, JobState
from tests.jobs import attempt, claimed, deferred, ended, failed, queue
from tests.service.conftest import OpenStore
from worker.store import Store


async def expire(store: Store, id: str) -> None:
    """Let the lease of a held job lie in the past, by its holder's own word."""
    assert await store.holds.renew({id: (await store.jobs.get(id)).attempt}, -1.0) == {id}


async def test_a_claim_raises_the_attempt_and_begins_a_lease(store: Store) -> None:
    job = await claimed(store, lease_s=30)
    assert (job.state, job.attempt, job.lease_owner) == ("in_progress", 1, "us")
    assert job.lease_until is not None
    assert job.started_at is not None
    assert job.lease_until - job.started_at == pytest.approx(
        timedelta(seconds=30), abs=timedelta(milliseconds=50)
    )


async def test_of_claims_at_once_exactly_one_wins(open_store: OpenStore) -> None:
    stores = [open_store("a"), open_store("b")]
    id = await queue(stores[0])
    found = await asyncio.gather(*(stores[n % 2].holds.claim(id, 30) for n in range(20)))
    won = [job for job in found if job is not None]
    assert [job.attempt for job in won] == [1]


async def test_a_job_that_is_scheduled_is_claimed_only_when_it_is_due(store: Store) -> None:
    now = datetime.now(UTC)
    later = await queue(store, prompt="later", scheduled_at=now + timedelta(minutes=1))
    due = await queue(store, prompt="due", scheduled_at=now - timedelta(seconds=1))
    assert await store.holds.claim(later, 30) is None
    job = await store.holds.claim(due, 30)
    assert job is not None
    assert job.scheduled_at is None


async def test_an_ended_or_unknown_job_is_not_claimed(store: Store) -> None:
    job = await claimed(store)
    await store.holds.settle(ended(job), None)
    assert await store.holds.claim(job.id, 30) is None
    assert await store.holds.claim("nobody", 30) is None


async def test_a_second_claim_keeps_the_first_start(store: Store) -> None:
    job = await claimed(store)
    first_start = job.started_at
    await deferred(store.holds, attempt(job), datetime.now(UTC) - timedelta(seconds=1))
    again = await store.holds.claim(job.id, 30)
    assert again is not None
    assert (again.attempt, again.started_at) == (2, first_start)


async def test_renewal_extends_what_is_held_and_names_it(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = [await claimed(us, await queue(us, prompt=str(n)), lease_s=1) for n in range(3)]
    theirs = await claimed(them, await queue(us, prompt="theirs"), lease_s=1)
    queued = await queue(us, prompt="queued")
    held = {job.id: 1 for job in [*ours, theirs]} | {queued: 0, "nobody": 1}
    assert await us.holds.renew(held, 600) == {job.id for job in ours}
    for job in ours:
        until = (await us.jobs.get(job.id)).lease_until
        assert until is not None
        assert until > datetime.now(UTC) + timedelta(minutes=9)
    assert (await us.jobs.get(theirs.id)).lease_until == theirs.lease_until
    assert await us.holds.renew({}, 30) == set()


async def test_a_hold_that_was_taken_over_is_not_renewed(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    job = await claimed(us)
    await expire(us, job.id)
    assert [rescued.attempt for rescued in await us.sweeping.rescue(10)] == [2]
    assert await us.holds.renew({job.id: 1}, 30) == set()
    await claimed(them, job.id)
    assert await us.holds.renew({job.id: 1}, 30) == set()
    assert (await us.jobs.get(job.id)).lease_owner == "them"


async def test_thousands_of_leases_are_renewed_in_one_statement(store: Store) -> None:
    job = await claimed(store, lease_s=1)
    held = {f"job_{number:024d}": 1 for number in range(10_000)} | {job.id: 1}
    assert await store.holds.renew(held, 30) == {job.id}


async def test_only_a_live_lease_on_exactly_this_attempt_stands(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    live = await claimed(us, await queue(us, prompt="live"))
    expired = await claimed(us, await queue(us, prompt="expired"), lease_s=-1)
    raised = await claimed(us, await queue(us, prompt="raised"))
    await failed(us.holds, attempt(raised))
    asked = {live.id: 1, expired.id: 1, raised.id: 1, "nobody": 1}
    assert await us.holds.standing(asked) == {live.id}
    assert await us.holds.standing({raised.id: 2}) == {raised.id}
    assert await them.holds.standing(asked) == set()


@pytest.mark.parametrize("budget", ["failures", "throttles"])
async def test_the_next_attempt_raises_the_fence_and_is_charged(store: Store, budget: str) -> None:
    job = await claimed(store)
    record = attempt(job, error_category="server", error_code="500", length=7)
    assert await failed(store.holds, record, budget)
    row = await store.jobs.get(job.id)
    assert (row.state, row.attempt, row.lease_owner) == ("in_progress", 2, "us")
    assert row.failures + row.throttles == getattr(row, budget) == 1
    (kept,) = await store.jobs.attempts(job.id)
    assert (kept.number, kept.error_code, kept.length) == (1, "500", 7)


async def test_a_deferred_job_is_queued_until_it_is_due(store: Store) -> None:
    job = await claimed(store)
    due = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    assert await deferred(store.holds, attempt(job), due, "throttles")
    row = await store.jobs.get(job.id)
    assert (row.state, row.attempt, row.throttles) == ("queued", 1, 1)
    assert (row.scheduled_at, row.wake_at, row.wakes) == (due, due, 0)
    assert (row.lease_owner, row.lease_until) == (None, None)
    assert await store.holds.claim(job.id, 30) is None


async def test_settling_saves_the_end_with_the_last_request(store: Store) -> None:
    job = ended(await claimed(store), "all of it")
    job.usage, job.parts = {"total_tokens": 12}, [(0, "text", 3), (1, "text", 6)]
    assert await store.holds.settle(job, attempt(job, length=9))
    row = await store.jobs.get(job.id)
    assert (row.state, row.attempt, row.output_text, row.length) == (
        "completed", 1, "all of it", 9,
    )  # fmt: skip
    assert row.usage == {"total_tokens": 12}
    assert [tuple(part) for part in row.parts or []] == [(0, "text", 3), (1, "text", 6)]
    assert (row.lease_owner, row.lease_until) == (None, None)
    assert row.finished_at is not None
    assert len(await store.jobs.attempts(job.id)) == 1


async def test_an_end_is_settled_once(store: Store) -> None:
    job = await claimed(store)
    assert await store.holds.settle(ended(job, "first"), attempt(job))
    assert not await store.holds.settle(ended(job, "second"), attempt(job))
    assert (await store.jobs.get(job.id)).output_text == "first"


@pytest.mark.parametrize("write", ["settle", "next_attempt", "defer"])
@pytest.mark.parametrize("by", ["rescue", "cancel", "takeover"])
async def test_nothing_is_written_under_a_stale_attempt(
    open_store: OpenStore, write: str, by: str
) -> None:
    us, them = open_store("us"), open_store("them")
    job = await claimed(us)
    if by == "cancel":
        await them.jobs.cancel(job.id)
    else:
        await expire(us, job.id)
        await them.sweeping.rescue(10)
    if by == "takeover":
        await claimed(them, job.id)
    before = await them.jobs.get(job.id)
    record = attempt(job)
    if write == "settle":
        assert not await us.holds.settle(ended(job), record)
    elif write == "next_attempt":
        assert not await failed(us.holds, record)
    else:
        assert not await deferred(us.holds, record, datetime.now(UTC))
    after = await them.jobs.get(job.id)
    columns = [str(item.key) for item in Job.__mapper__.attrs]
    assert {name: getattr(after, name) for name in columns} == {
        name: getattr(before, name) for name in columns
    }
    assert await them.jobs.attempts(job.id) == []


async def test_a_settle_and_a_rescue_at_once_never_both_win(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    jobs = [await claimed(us, await queue(us, prompt=str(n)), lease_s=-1) for n in range(30)]
    settles = [us.holds.settle(ended(job), attempt(job)) for job in jobs]
    rescued, settled = await asyncio.gather(sweep.sweeping.rescue(30), asyncio.gather(*settles))
    taken = {job.id for job in rescued}
    assert taken == {job.id for job, won in zip(jobs, settled, strict=True) if not won}
    for row in (await us.jobs.many(job.id for job in jobs)).values():
        expected = (JobState.QUEUED, 2) if row.id in taken else (JobState.COMPLETED, 1)
        assert (row.state, row.attempt) == expected


async def test_a_transaction_broken_off_frees_the_database(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    for steps in range(0, 60, 3):
        job = await claimed(us, await queue(us, prompt=str(steps)))
        task = asyncio.create_task(us.holds.settle(ended(job), attempt(job)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with asyncio.timeout(5):
            await them.jobs.cancel(job.id)
