"""Following a job: cursors of every kind, a log that is gone, a Redis that is away."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from models import Job
from tests.jobs import attempt, claimed, ended, failed, new_id, queue
from tests.proxy import Proxy
from tests.reader import Reader
from tests.servers import RedisServer
from tests.streams import Holder, fast_failing, following, publishing
from tests.wire import until
from worker.channel.announce import announce_end, announce_lost
from worker.channel.events import START, Cursor, encode
from worker.channel.follow import Follower
from worker.channel.hub import MOST_WAITING
from worker.channel.log import Log, channel_name, log_key
from worker.channel.publisher import Publisher
from worker.errors import InvalidCursor, JobNotFound
from worker.store import Store

TEXT = "0123456789"


@pytest.fixture
async def follower(redis: Redis, rows: Store) -> AsyncIterator[Follower]:
    async with following(redis, rows, 0.2) as follower:
        yield follower


@pytest.fixture
async def publisher(redis: Redis) -> AsyncIterator[Publisher]:
    async with publishing(redis) as publisher:
        yield publisher


async def follow(follower: Follower, job: str, after: Cursor = START) -> Reader:
    """A reader that has heard the job to its end."""
    reader = Reader(*after)
    async with asyncio.timeout(20):
        async for event in follower.follow(job, after):
            reader.hear(encode(event))
    return reader


async def saved(rows: Store, text: str = TEXT) -> Job:
    """A job that ended with this text and has no log."""
    job = ended(await claimed(rows), text)
    assert await rows.holds.settle(job, None)
    return job


async def running(rows: Store, publisher: Publisher, *texts: str) -> Holder:
    """A job that is being streamed and has said so much."""
    holder = Holder(publisher, (await claimed(rows)).id)
    holder.start()
    for text in texts:
        holder.say(text)
        assert await publisher.drain(5)
    return holder


@pytest.mark.parametrize("offset", range(len(TEXT) + 1))
async def test_a_saved_job_is_told_from_any_character_on(
    follower: Follower, rows: Store, offset: int
) -> None:
    job = await saved(rows)
    reader = await follow(follower, job.id, Cursor(1, offset))
    assert reader.flow == TEXT[offset:]
    assert reader.cursor == (1, len(TEXT) + 1)


@pytest.mark.parametrize("offset", range(len(TEXT) + 1))
async def test_a_running_job_is_told_from_any_character_on(
    follower: Follower, rows: Store, publisher: Publisher, offset: int
) -> None:
    holder = await running(rows, publisher, "0123", "456789")
    reading = asyncio.create_task(follow(follower, holder.job, Cursor(1, offset)))
    holder.say("abc")
    await holder.settle(rows)
    assert (await reading).flow == (TEXT + "abc")[offset:]


@pytest.mark.parametrize("logged", [True, False])
async def test_a_cursor_at_the_end_hears_nothing_and_ends(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis, logged: bool
) -> None:
    holder = await running(rows, publisher, TEXT)
    await holder.settle(rows)
    assert await publisher.drain(5)
    if not logged:
        await redis.delete(log_key(holder.job))
    reader = await follow(follower, holder.job, Cursor(1, len(TEXT) + 1))
    assert reader.types == []


@pytest.mark.parametrize("cursor", [Cursor(1, 12), Cursor(2, 0), Cursor(9, 1)])
@pytest.mark.parametrize("logged", [True, False])
async def test_a_cursor_beyond_the_end_is_invalid(
    follower: Follower,
    rows: Store,
    publisher: Publisher,
    redis: Redis,
    logged: bool,
    cursor: Cursor,
) -> None:
    holder = await running(rows, publisher, TEXT)
    await holder.settle(rows)
    assert await publisher.drain(5)
    if not logged:
        await redis.delete(log_key(holder.job))
    with pytest.raises(InvalidCursor, match=r"beyond the end of the job, 1-11; start over"):
        await follow(follower, holder.job, cursor)


@pytest.mark.parametrize("cursor", [Cursor(1, 11), Cursor(2, 0), Cursor(7, 7)])
async def test_a_cursor_beyond_a_running_attempt_is_invalid(
    follower: Follower, rows: Store, publisher: Publisher, cursor: Cursor
) -> None:
    holder = await running(rows, publisher, TEXT)
    with pytest.raises(InvalidCursor, match=f"cursor: {cursor} is"):
        await follow(follower, holder.job, cursor)


async def test_a_cursor_of_a_job_that_has_not_begun_is_invalid(
    follower: Follower, rows: Store
) -> None:
    id = await queue(rows)
    with pytest.raises(InvalidCursor, match="an attempt that has not begun"):
        await follow(follower, id, Cursor(1, 0))


async def test_nobody_is_followed_in_vain(follower: Follower) -> None:
    with pytest.raises(JobNotFound):
        await follow(follower, new_id())


async def test_a_reader_that_comes_before_the_job_begins_hears_all(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    id = await queue(rows)
    reading = asyncio.create_task(follow(follower, id))
    await until(lambda: subscribers(redis, id))
    await claimed(rows, id)
    holder = Holder(publisher, id)
    holder.start()
    holder.say(TEXT)
    await holder.settle(rows)
    reader = await reading
    assert reader.types == ["started", "delta", "completed"]
    assert reader.flow == TEXT


async def subscribers(redis: Redis, job: str) -> int:
    ((_, count),) = await redis.pubsub_numsub(channel_name(job))
    return int(count)


async def test_two_readers_of_one_job_both_hear_all(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher, "0123")
    readers = [asyncio.create_task(follow(follower, holder.job)) for _ in range(2)]
    await until(lambda: subscribers(redis, holder.job))
    holder.say("456789")
    await holder.settle(rows)
    assert [reader.flow for reader in await asyncio.gather(*readers)] == [TEXT, TEXT]


async def test_a_reader_that_leaves_is_unsubscribed_and_the_other_stays(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher, TEXT)
    readers = [asyncio.create_task(follow(follower, holder.job)) for _ in range(2)]
    await until(lambda: subscribers(redis, holder.job))
    readers[0].cancel()
    await asyncio.wait(readers[:1])
    holder.say("!")
    assert await publisher.drain(5)
    assert await subscribers(redis, holder.job) == 1
    readers[1].cancel()
    await asyncio.wait(readers)
    await until(lambda: nobody(redis, holder.job))


async def nobody(redis: Redis, job: str) -> bool:
    return await subscribers(redis, job) == 0


async def test_a_reader_that_breaks_off_at_any_point_disturbs_nobody(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher, TEXT)
    steady = asyncio.create_task(follow(follower, holder.job))
    for steps in range(40):
        hasty = asyncio.create_task(follow(follower, holder.job))
        other = asyncio.create_task(follow(follower, (await running(rows, publisher)).job))
        for _ in range(steps):
            await asyncio.sleep(0)
        hasty.cancel()
        other.cancel()
        await asyncio.wait([hasty, other])
        holder.say(".")
    await holder.settle(rows)
    assert (await steady).flow == TEXT + "." * 40
    await until(lambda: nobody(redis, holder.job))
    assert await redis.pubsub_channels() == []


async def test_a_slow_reader_reads_the_log_instead(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher)
    reader = Reader()
    follows = follower.follow(holder.job)
    reader.hear(encode(await anext(follows)))
    count = 2 * MOST_WAITING + 10
    for _ in range(count):
        holder.say("x")
        assert await publisher.drain(5)
    await holder.settle(rows)
    async for event in follows:
        reader.hear(encode(event))
    assert reader.flow == "x" * count


async def test_a_void_attempt_is_dropped_and_never_spliced(
    follower: Follower, rows: Store, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "of the first")
    reading = asyncio.create_task(follow(follower, holder.job, Cursor(1, 3)))
    assert await failed(rows.holds, attempt(holder.row()))
    holder.retry()
    second = Holder(publisher, holder.job, attempt=2)
    second.start()
    second.say(TEXT)
    await second.settle(rows)
    reader = await reading
    assert reader.flow == TEXT
    assert reader.types[-4:] == ["retrying", "started", "delta", "completed"]


async def test_a_rescued_job_voids_the_text_of_the_dead_attempt(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher, "of the dead")
    await rows.holds.renew({holder.job: 1}, -1.0)
    (job,) = await rows.sweeping.rescue(1)
    await announce_lost(Log(redis), job, 300)
    reading = asyncio.create_task(follow(follower, holder.job, Cursor(1, 5)))
    again = await claimed(rows, holder.job)
    assert again.attempt == 3
    third = Holder(publisher, holder.job, attempt=3)
    third.start()
    third.say(TEXT)
    await third.settle(rows)
    assert (await reading).flow == TEXT


async def test_a_cancelled_job_ends_without_text(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    holder = await running(rows, publisher, TEXT)
    reading = asyncio.create_task(follow(follower, holder.job))
    await until(lambda: subscribers(redis, holder.job))
    job, _ = await rows.jobs.cancel(holder.job)
    await announce_end(Log(redis), job, 300)
    await announce_end(Log(redis), job, 300)
    reader = await reading
    assert reader.end is not None
    assert (reader.end["type"], reader.end["id"], reader.end["length"]) == ("cancelled", "2-1", 0)
    assert reader.flow == ""
    # What the holder still says is said to nobody.
    holder.say("too late")
    await asyncio.wait_for(holder.fenced.wait(), 5)
    assert (await follow(follower, holder.job)).types[-1] == "cancelled"


async def test_an_end_that_nobody_announced_is_learned_from_the_database(
    follower: Follower, rows: Store, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "0123")
    reading = asyncio.create_task(follow(follower, holder.job))
    # The holder dies after its commit: neither the rest nor the end reaches Redis.
    assert await rows.holds.settle(ended(holder.row(), TEXT), None)
    assert (await reading).flow == TEXT


async def test_without_redis_the_end_is_learned_from_the_database(
    private_redis: RedisServer, rows: Store
) -> None:
    async with (
        fast_failing(private_redis.url) as client,
        publishing(client) as publisher,
        following(client, rows, 0.2) as follower,
    ):
        holder = await running(rows, publisher, "0123")
        early = asyncio.create_task(follow(follower, holder.job))
        await until(lambda: subscribers(client, holder.job))
        private_redis.stop()
        late = asyncio.create_task(follow(follower, holder.job, Cursor(1, 2)))
        assert await rows.holds.settle(ended(holder.row(), TEXT), None)
        assert (await early).flow == TEXT
        assert (await late).flow == TEXT[2:]


async def test_a_reader_outlives_a_redis_that_is_away_for_a_while(
    private_redis: RedisServer, rows: Store
) -> None:
    async with (
        fast_failing(private_redis.url) as client,
        publishing(client) as publisher,
        following(client, rows, 0.1) as follower,
    ):
        holder = await running(rows, publisher, "0123")
        reading = asyncio.create_task(follow(follower, holder.job))
        await until(lambda: subscribers(client, holder.job))
        private_redis.stop()
        holder.say("456")
        assert not await publisher.drain(1.0)
        private_redis.restart(wipe=True)
        holder.say("789")
        assert await publisher.drain(10)
        await until(lambda: subscribers(client, holder.job))
        await holder.settle(rows)
        assert (await reading).flow == TEXT


@pytest.mark.parametrize("command", [b"XRANGE", b"XREVRANGE"])
async def test_a_question_to_redis_that_is_not_answered_does_not_end_a_reader(
    redis: Redis, redis_url: str, rows: Store, publisher: Publisher, command: bytes
) -> None:
    holder = await running(rows, publisher, TEXT)
    async with (
        Proxy(redis_url) as proxy,
        fast_failing(proxy.url) as client,
        following(client, rows, 0.1) as follower,
    ):
        proxy.cut_after_request(command)
        reading = asyncio.create_task(follow(follower, holder.job, Cursor(1, len(TEXT))))
        await until(lambda: proxy.cuts)
        holder.say("!")
        await holder.settle(rows)
        assert (await reading).flow == "!"


async def test_old_entries_are_ignored_by_who_has_asked_the_database(
    follower: Follower, rows: Store, publisher: Publisher, redis: Redis
) -> None:
    # The row is of a higher attempt; a zombie still writes to a Redis that was wiped.
    id = await queue(rows)
    await claimed(rows, id)
    await rows.holds.renew({id: 1}, -1.0)
    await rows.sweeping.rescue(1)
    reading = asyncio.create_task(follow(follower, id))
    asked: Callable[[], object] = lambda: subscribers(redis, id)  # noqa: E731
    await until(asked)
    zombie = Holder(publisher, id)
    zombie.start()
    zombie.say("of a zombie")
    assert await publisher.drain(5)
    await claimed(rows, id)
    third = Holder(publisher, id, attempt=3)
    third.start()
    third.say(TEXT)
    await third.settle(rows)
    assert (await reading).flow == TEXT
