"""Accepting, finding and cancelling jobs: one row for each, whatever comes at the same time."""

import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest

from models import JobState
from tests.jobs import attempt, claimed, ended, failed, new_id, queue, request
from tests.service.conftest import OpenStore
from worker.errors import Conflict, JobNotFound
from worker.request import JobRequest
from worker.store import Listing, Store

ID = "job_0123456789abcdef"


async def insert(
    store: Store, given: JobRequest, id: str | None = None, tenant: str = "default"
) -> tuple[str, bool]:
    job, is_new = await store.jobs.insert(given, id=id or new_id(), tenant=tenant, deadline_s=60)
    return job.id, is_new


async def test_a_new_job_is_queued_under_no_attempt(store: Store) -> None:
    job, is_new = await store.jobs.insert(request(), id=ID, tenant="acme", deadline_s=60)
    assert is_new
    assert (job.id, job.tenant, job.state, job.attempt) == (ID, "acme", "queued", 0)
    assert (job.failures, job.throttles, job.crashes, job.length) == (0, 0, 0, 0)
    assert job.request["messages"] == [{"role": "user", "content": "hello"}]
    assert (job.output_text, job.lease_owner, job.finished_at) == (None, None, None)


async def test_the_same_key_with_the_same_request_is_the_same_job(store: Store) -> None:
    first, _ = await insert(store, request(idempotency_key="k"))
    assert await insert(store, request(idempotency_key="k")) == (first, False)


async def test_the_same_id_with_the_same_request_is_the_same_job(store: Store) -> None:
    await insert(store, request(), ID)
    assert await insert(store, request(), ID) == (ID, False)


async def test_an_id_is_not_confused_with_jobs_that_have_no_key_either(store: Store) -> None:
    for number in range(5):
        await insert(store, request(f"other {number}"))
    await insert(store, request(), ID)
    await insert(store, request("later"))
    assert await insert(store, request(), ID) == (ID, False)


async def test_the_same_key_with_another_request_conflicts(store: Store) -> None:
    await insert(store, request("one", idempotency_key="k"))
    with pytest.raises(Conflict, match="idempotency key 'k' belongs to another request"):
        await insert(store, request("two", idempotency_key="k"))


async def test_the_same_id_with_another_request_conflicts(store: Store) -> None:
    await insert(store, request("one"), ID)
    with pytest.raises(Conflict, match=f"id {ID} belongs to another request"):
        await insert(store, request("two"), ID)


async def test_an_id_of_one_job_with_the_key_of_another_conflicts(store: Store) -> None:
    await insert(store, request("one", idempotency_key="k"))
    await insert(store, request("two"), ID)
    with pytest.raises(Conflict, match="idempotency key 'k'"):
        await insert(store, request("two", idempotency_key="k"), ID)


async def test_jobs_without_a_key_are_never_the_same(store: Store) -> None:
    first, _ = await insert(store, request())
    assert (await insert(store, request()))[0] != first


async def test_two_tenants_use_the_same_key_for_different_jobs(store: Store) -> None:
    ours, _ = await insert(store, request("one", idempotency_key="k"), tenant="ours")
    theirs, is_new = await insert(store, request("two", idempotency_key="k"), tenant="theirs")
    assert is_new
    assert ours != theirs


async def test_an_id_of_another_tenant_conflicts_even_with_the_same_request(store: Store) -> None:
    await insert(store, request(), ID, tenant="theirs")
    with pytest.raises(Conflict):
        await insert(store, request(), ID, tenant="ours")


async def test_fifty_inserts_at_once_under_one_key_make_one_row(open_store: OpenStore) -> None:
    stores = [open_store(f"process-{number}") for number in range(2)]
    inserts = [
        insert(stores[number % 2], request(idempotency_key="k"), new_id()) for number in range(50)
    ]
    found = await asyncio.gather(*inserts)
    assert len({id for id, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1


async def test_a_job_inserted_as_ended_is_never_claimed(store: Store) -> None:
    columns = {"state": "failed", "attempt": 1, "error_category": "bad_request"}
    job, _ = await store.jobs.insert(
        request(), id=ID, tenant="default", deadline_s=0, ended=dict(columns)
    )
    assert (job.state, job.attempt, job.error_category) == ("failed", 1, "bad_request")
    assert await store.holds.claim(ID, 30) is None


async def test_an_unknown_id_is_not_found(store: Store) -> None:
    with pytest.raises(JobNotFound, match="no job has the id 'nobody'"):
        await store.jobs.get("nobody")
    with pytest.raises(JobNotFound):
        await store.jobs.cancel("nobody")


async def test_what_no_database_can_hold_is_nobodys_id_and_is_found_as_it_was_stored(
    store: Store,
) -> None:
    id = await queue(store, metadata={"a\ufffd": "b\ufffd", "stra\u00dfe": 'quo"ted'})
    for odd in ("\0", id + "\0", "\ud800"):
        with pytest.raises(JobNotFound):
            await store.jobs.get(odd)
        assert await store.jobs.many([odd]) == {}
    wanted = Listing(tenant="default", metadata={"a\0": "b\ud800", "stra\u00dfe": 'quo"ted'})
    assert [job.id for job in await store.jobs.page(wanted, 9)] == [id]


async def test_many_finds_those_that_exist(store: Store) -> None:
    ids = {await queue(store, prompt=str(number)) for number in range(3)}
    assert (await store.jobs.many([*ids, "nobody"])).keys() == ids
    assert await store.jobs.many([]) == {}


async def test_attempts_come_oldest_first(store: Store) -> None:
    job = await claimed(store)
    await failed(store.holds, attempt(job, error_code="first"))
    job.attempt += 1
    await store.holds.settle(ended(job), attempt(job))
    found = await store.jobs.attempts(job.id)
    assert [(item.number, item.error_code) for item in found] == [(1, "first"), (2, None)]


async def test_cancelling_a_queued_job_ends_it_under_a_raised_attempt(store: Store) -> None:
    id = await queue(store)
    job, cancelled = await store.jobs.cancel(id)
    assert cancelled
    assert (job.state, job.attempt, job.length) == ("cancelled", 1, 0)
    assert job.finished_at is not None
    assert await store.holds.claim(id, 30) is None


async def test_cancelling_a_held_job_takes_it_from_its_holder(store: Store) -> None:
    job = await claimed(store)
    cancelled, _ = await store.jobs.cancel(job.id)
    assert (cancelled.attempt, cancelled.lease_owner, cancelled.lease_until) == (2, None, None)
    assert await store.holds.renew({job.id: 1}, 30) == set()
    assert not await store.holds.settle(ended(job), attempt(job))
    assert (await store.jobs.get(job.id)).output_text is None


@pytest.mark.parametrize("state", ["completed", "incomplete", "failed", "cancelled"])
async def test_cancelling_what_has_ended_changes_nothing(store: Store, state: str) -> None:
    job = await claimed(store)
    await store.holds.settle(ended(job, state=JobState(state)), None)
    before = await store.jobs.get(job.id)
    after, cancelled = await store.jobs.cancel(job.id)
    assert not cancelled
    assert (after.state, after.attempt, after.output_text) == (state, 1, "done")
    assert after.finished_at == before.finished_at


async def test_of_a_cancel_and_a_settle_at_once_exactly_one_wins(open_store: OpenStore) -> None:
    worker, caller = open_store("worker"), open_store("caller")
    jobs = [await claimed(worker, await queue(worker, prompt=str(n))) for n in range(40)]

    async def race(number: int) -> str:
        job = jobs[number]
        settle = worker.holds.settle(ended(job), attempt(job))
        cancel = caller.jobs.cancel(job.id)
        if number % 2:
            settled, (_, cancelled) = await asyncio.gather(settle, cancel)
        else:
            (_, cancelled), settled = await asyncio.gather(cancel, settle)
        assert settled is not cancelled
        row, records = await caller.jobs.get(job.id), await caller.jobs.attempts(job.id)
        expected = ("completed", 1, "done", 1) if settled else ("cancelled", 2, None, 0)
        assert (row.state, row.attempt, row.output_text, len(records)) == expected
        return row.state

    assert await asyncio.gather(*map(race, range(40)))


async def test_text_beyond_ascii_and_every_moment_come_back_as_they_went_in(store: Store) -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    moment = datetime(2031, 2, 3, 4, 5, 6, 789_000, east)
    text = "tschüß 👩‍🚀 \u2028 \ufffd \x01 %s {} ' \" \\ \x7f"
    id = await queue(
        store, prompt=text, scheduled_at=moment, deadline_at=moment, metadata={"kéy": text}
    )
    job = await store.jobs.get(id)
    assert job.request["messages"] == [{"role": "user", "content": text}]
    assert job.labels == {"kéy": text}
    assert job.scheduled_at == job.deadline_at == moment
    assert job.scheduled_at is not None
    assert job.scheduled_at.tzinfo is UTC


async def test_the_deadline_counts_from_the_earliest_start(store: Store) -> None:
    start = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=3)
    scheduled = await store.jobs.get(await queue(store, scheduled_at=start))
    assert scheduled.deadline_at == start + timedelta(hours=1)
    at_once = await store.jobs.get(await queue(store))
    assert at_once.deadline_at - at_once.created_at < timedelta(hours=1, seconds=1)
    assert at_once.deadline_at - at_once.created_at > timedelta(minutes=59)


async def test_a_caller_that_gives_up_leaves_the_store_usable(store: Store) -> None:
    ids = [await queue(store, prompt=str(number)) for number in range(20)]
    for id in ids:
        task = asyncio.create_task(store.holds.claim(id, 30))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    assert (await store.jobs.get(ids[0])).id == ids[0]
    fresh = await queue(store, prompt="fresh")
    assert await store.holds.claim(fresh, 30) is not None
