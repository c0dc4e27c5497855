"""An attempt that its holder can write no row of: its log tells what it had opened."""

from random import Random

from redis.asyncio import Redis

from tests.jobs import attempt, claimed, failed, queue
from tests.streams import Holder, rich_chunks
from worker import catalog
from worker.cancellation import cancel
from worker.channel.announce import announce_lost
from worker.channel.log import Log
from worker.channel.lost import lost_attempt
from worker.channel.publisher import Publisher
from worker.settings import Settings
from worker.store import Store

NO_PRICES = catalog.simulated("http://upstream/v1")


async def heard(publisher: Publisher, job: str, number: int = 1) -> Holder:
    """An attempt that has published much of everything, in many pieces."""
    holder = Holder(publisher, job, number)
    holder.start()
    for chunk in rich_chunks(Random(7)):
        holder.take(chunk)
        assert await publisher.drain(5)
    return holder


async def test_a_rescued_attempt_has_the_parts_that_it_published(
    store: Store, publisher: Publisher, redis: Redis, log: Log
) -> None:
    job = await claimed(store)
    holder = await heard(publisher, job.id)
    await store.holds.renew({job.id: 1}, -1.0)
    (row,) = await store.sweeping.rescue(1)
    await announce_lost(log, row, 300)

    lost = await lost_attempt(log, row, "lost")
    assert lost is not None
    await store.jobs.keep_lost(lost)
    await store.jobs.keep_lost(lost)
    (kept,) = await store.jobs.attempts(job.id)
    assert [tuple(part) for part in kept.parts or []] == holder.transcript.parts()
    assert (kept.number, kept.length) == (1, holder.transcript.length)
    assert (kept.upstream, kept.error_code, kept.error_category) == ("simulator", "lost", None)
    assert job.started_at == kept.started_at <= kept.finished_at


async def test_a_cancelled_attempt_has_its_row_and_begins_after_the_one_before(
    store: Store, publisher: Publisher, log: Log
) -> None:
    job = await claimed(store)
    await failed(store.holds, attempt(job, error_code="first"))
    holder = await heard(publisher, job.id, 2)
    await cancel(job.id, store.jobs, log, Settings(), NO_PRICES)

    first, second = await store.jobs.attempts(job.id)
    assert (second.number, second.error_code) == (2, "cancelled")
    assert second.length == holder.transcript.length
    assert first.finished_at == second.started_at


async def test_no_row_is_made_of_a_request_that_nobody_sent_or_that_has_one(
    store: Store, publisher: Publisher, log: Log
) -> None:
    waiting, _ = await cancel(await queue(store), store.jobs, log, Settings(), NO_PRICES)
    assert await store.jobs.attempts(waiting.id) == []

    job = await claimed(store)
    await heard(publisher, job.id)
    await failed(store.holds, attempt(job, error_code="first", length=3))
    await cancel(job.id, store.jobs, log, Settings(), NO_PRICES)
    (kept,) = await store.jobs.attempts(job.id)
    assert (kept.error_code, kept.length) == ("first", 3)
