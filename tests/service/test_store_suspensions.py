"""Suspensions in the database: replaced, over by themselves, lifted with those who wait for it."""

from datetime import UTC, datetime, timedelta

from models import Suspension
from tests.jobs import attempt, claimed, deferred, queue
from worker.errors import Category, UpstreamError
from worker.store import Store

SPENT = UpstreamError(Category.BILLING, "insufficient_quota", 429, "no money\0")


async def suspend(store: Store, model: str = "*", for_s: float = 60.0) -> Suspension:
    return await store.suspensions.suspend(
        base_url="http://a/v1",
        key_fingerprint="f" * 16,
        model=model,
        upstream="a",
        error=SPENT,
        for_s=for_s,
    )


async def test_a_suspension_stands_until_its_time_and_a_new_one_replaces_it(store: Store) -> None:
    await suspend(store, for_s=-1)
    assert await store.suspensions.standing() == []
    await suspend(store)
    await suspend(store, model="gpt-4o", for_s=120)
    standing = {each.model: each for each in await store.suspensions.standing()}
    assert standing.keys() == {"*", "gpt-4o"}
    assert standing["*"].message == "no money\ufffd"
    assert await store.suspensions.lift("a") == 2
    assert 59 <= (standing["*"].until - standing["*"].since).total_seconds() <= 61


async def test_lifting_frees_the_jobs_that_wait_for_its_end_and_no_others(store: Store) -> None:
    until = (await suspend(store)).until
    waiting = await claimed(store)
    assert await deferred(store.holds, attempt(waiting), until + timedelta(seconds=1), None)
    later = await claimed(store)
    assert await deferred(store.holds, attempt(later), until + timedelta(seconds=60), None)
    planned = await queue(store, scheduled_at=datetime.now(UTC) + timedelta(seconds=30))

    assert await store.suspensions.lift("nobody") == 0
    assert await store.holds.claim(waiting.id, 30) is None
    assert await store.suspensions.lift("a") == 1
    assert await store.suspensions.standing() == []
    assert [due.id for due in await store.sweeping.due(10)] == [waiting.id]
    assert await store.holds.claim(waiting.id, 30)
    assert await store.holds.claim(later.id, 30) is None
    assert await store.holds.claim(planned, 30) is None
