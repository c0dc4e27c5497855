"""A database that goes away: what was asked is asked again, and what is not known is read back."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sqlalchemy import select, update

from models import Job
from tests.jobs import attempt, claimed, ended, new_id, queue, request
from tests.proxy import Proxy
from worker.errors import StoreAway
from worker.store import Store

COMMIT = b"COMMIT"


async def test_an_end_whose_commit_was_not_answered_is_our_own(proxy: Proxy, us: Store) -> None:
    job = ended(await claimed(us), "all of it")
    proxy.cut_after_request(COMMIT)
    with pytest.raises(StoreAway) as away:
        await us.holds.settle(job, attempt(job))
    assert away.value.unsure
    assert not await us.holds.settle(job, attempt(job))
    assert await us.holds.settle(job, attempt(job), unsure=True)
    row = await us.jobs.get(job.id)
    assert (row.state, row.output_text, proxy.cuts) == ("completed", "all of it", 1)
    assert len(await us.jobs.attempts(job.id)) == 1


async def test_an_end_whose_commit_was_lost_is_written_again(proxy: Proxy, us: Store) -> None:
    job = ended(await claimed(us), "all of it")
    await proxy.down()
    with pytest.raises(StoreAway) as away:
        await us.holds.settle(job, attempt(job))
    assert "DELTAWORKS_DATABASE_URL" in str(away.value)
    await proxy.up()
    assert await us.holds.settle(job, attempt(job), unsure=True)
    assert (await us.jobs.get(job.id)).output_text == "all of it"


async def test_a_retry_whose_commit_was_not_answered_raises_the_attempt_once(
    proxy: Proxy, us: Store
) -> None:
    job = await claimed(us)
    known = job.id, job.attempt, "failures"
    proxy.cut_after_request(COMMIT)
    with pytest.raises(StoreAway):
        await us.holds.next_attempt(*known, attempt(job))
    assert await us.holds.next_attempt(*known, attempt(job), unsure=True)
    row = await us.jobs.get(job.id)
    assert (row.attempt, row.failures, row.state) == (2, 1, "in_progress")


async def test_a_deferral_whose_commit_was_not_answered_is_our_own(proxy: Proxy, us: Store) -> None:
    job = await claimed(us)
    known = job.id, job.attempt, datetime.now(UTC) + timedelta(hours=1), "throttles"
    proxy.cut_after_request(COMMIT)
    with pytest.raises(StoreAway):
        await us.holds.defer(*known, attempt(job))
    assert await us.holds.defer(*known, attempt(job), unsure=True)
    row = await us.jobs.get(job.id)
    assert (row.attempt, row.throttles, row.state) == (1, 1, "queued")


@pytest.mark.parametrize("by", ["rescue", "cancel", "takeover"])
async def test_what_others_did_meanwhile_is_not_taken_for_our_own(
    us: Store, them: Store, by: str
) -> None:
    job = ended(await claimed(us))
    if by == "cancel":
        await them.jobs.cancel(job.id)
    else:
        await us.holds.renew({job.id: 1}, -1.0)
        await them.sweeping.rescue(10)
    if by == "takeover":
        await claimed(them, job.id)
    due = datetime.now(UTC)
    assert not await us.holds.settle(job, attempt(job), unsure=True)
    assert not await us.holds.next_attempt(job.id, 1, None, attempt(job), unsure=True)
    assert not await us.holds.defer(job.id, 1, due, None, attempt(job), unsure=True)
    assert await us.jobs.attempts(job.id) == []


async def test_a_job_whose_insert_was_not_answered_is_new_all_the_same(
    proxy: Proxy, us: Store
) -> None:
    await us.jobs.many([])
    id = new_id()
    proxy.cut_after_request(b"INSERT INTO jobs")
    job, is_new = await us.jobs.insert(request(), id=id, tenant="default", deadline_s=60)
    assert (job.id, is_new, proxy.cuts) == (id, True, 1)
    again, is_new = await us.jobs.insert(request(), id=id, tenant="default", deadline_s=60)
    assert (again.id, is_new) == (id, False)


async def test_a_claim_that_was_not_answered_leaves_the_job_with_nobody_unknown(
    proxy: Proxy, us: Store, them: Store
) -> None:
    id = await queue(us)
    proxy.cut_after_request(b"UPDATE jobs")
    job = await us.holds.claim(id, 30)
    assert job is not None
    assert proxy.cuts == 1
    row = await them.jobs.get(id)
    assert (row.lease_owner, row.attempt) == ("us", job.attempt)
    assert await us.holds.settle(ended(job), attempt(job))


async def test_a_claim_that_was_not_answered_leaves_others_jobs_alone(
    proxy: Proxy, us: Store, them: Store
) -> None:
    theirs = await claimed(them)
    proxy.cut_after_request(b"UPDATE jobs")
    assert await us.holds.claim(theirs.id, 30) is None
    row = await them.jobs.get(theirs.id)
    assert (row.lease_owner, row.attempt, proxy.cuts) == ("them", 1, 1)


async def test_a_cancellation_that_was_not_answered_is_still_ours_to_announce(
    proxy: Proxy, us: Store
) -> None:
    id = await queue(us)
    proxy.cut_after_request(b"UPDATE jobs")
    job, cancelled = await us.jobs.cancel(id)
    assert (job.state, job.attempt, cancelled, proxy.cuts) == ("cancelled", 1, True, 1)
    assert not (await us.jobs.cancel(id))[1]


async def test_what_can_be_repeated_outlasts_a_short_absence(proxy: Proxy, us: Store) -> None:
    job = await claimed(us)
    await proxy.down()
    renewing = asyncio.create_task(us.holds.renew({job.id: 1}, 30))
    reading = asyncio.create_task(us.jobs.get(job.id))
    await asyncio.sleep(0)
    await proxy.up()
    assert await renewing == {job.id}
    assert (await reading).id == job.id


async def test_a_change_that_met_another_one_is_made_again(us: Store, postgres_url: str) -> None:
    async with us.engine.connect() as connection:
        await connection.exec_driver_sql(
            f"ALTER DATABASE {postgres_url.rpartition('/')[2]} "
            "SET default_transaction_isolation = 'repeatable read'"
        )
    await us.engine.dispose()
    id = await queue(us)
    plain = postgres_url.replace("+psycopg", "")
    async with await psycopg.AsyncConnection.connect(plain) as other:
        await other.execute("UPDATE jobs SET wakes = wakes + 1")
        claim = asyncio.create_task(us.holds.claim(id, 30))
        await _await_a_lock(plain)
        await other.commit()
        job = await claim
    assert job is not None
    assert (job.attempt, job.wakes) == (1, 2)


async def _await_a_lock(url: str) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    async with asyncio.timeout(10), await psycopg.AsyncConnection.connect(url) as watch:
        await watch.set_autocommit(True)
        while (await (await watch.execute(waiting)).fetchone()) == (0,):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_server_that_only_reads_is_left_for_another(
    proxy: Proxy, us: Store, them: Store, postgres_url: str
) -> None:
    id = await queue(us)
    await _only_read(them, postgres_url, "on")
    await us.engine.dispose()
    assert (await us.jobs.get(id)).id == id
    with pytest.raises(StoreAway, match="read-only") as away:
        await us.holds.claim(id, 30)
    assert not away.value.unsure
    # What comes next has a new connection, to whatever server is the primary by then.
    await _only_read(them, postgres_url, "off")
    assert await us.holds.claim(id, 30) is not None


async def _only_read(store: Store, url: str, value: str) -> None:
    """Have new connections be like those to a former primary."""
    name = url.rpartition("/")[2]
    async with store.engine.connect() as connection:
        await connection.exec_driver_sql("SET default_transaction_read_only = off")
        await connection.exec_driver_sql(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {value}"
        )


async def test_an_ended_job_does_not_come_back(store: Store) -> None:
    job = ended(await claimed(store))
    await store.holds.settle(job, None)
    for changes in ({"state": "queued"}, {"state": "failed"}, {"state": "queued", "attempt": 9}):
        with pytest.raises(Exception, match="cannot leave a terminal state"):
            await _change(store, job.id, **changes)
    assert (await store.jobs.get(job.id)).state == "completed"


async def test_no_attempt_is_ever_lowered(store: Store) -> None:
    job = await claimed(store)
    with pytest.raises(Exception, match="nor can its attempt be lowered"):
        await _change(store, job.id, attempt=0)
    await _change(store, job.id, attempt=7)
    assert (await store.jobs.get(job.id)).attempt == 7


async def test_the_content_of_an_ended_job_can_be_erased(store: Store) -> None:
    job = ended(await claimed(store), "secret")
    await store.holds.settle(job, None)
    erased: dict[str, object] = {
        "output_text": None,
        "output": None,
        "request": {},
        "state": "completed",
    }
    await _change(store, job.id, **erased)
    row = await store.jobs.get(job.id)
    assert (row.state, row.output_text, row.length) == ("completed", None, 6)


async def _change(store: Store, id: str, **columns: object) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(columns))
        assert await connection.scalar(select(Job.id).where(Job.id == id)) == id
