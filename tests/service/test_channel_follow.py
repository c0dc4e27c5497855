"""Following a job: cursors of every kind, a log that is gone, a Redis that is away."""

import asyncio
from collections.abc import Callable

import pytest
from redis.asyncio import Redis

from tests.following import TEXT, follow, nobody, running, saved, subscribers
from tests.jobs import attempt, claimed, failed, new_id, queue
from tests.reader import Reader
from tests.streams import Holder
from tests.wire import until
from worker.channel.announce import announce_end, announce_lost
from worker.channel.events import Cursor, encode
from worker.channel.follow import Follower
from worker.channel.hub import MOST_WAITING
from worker.channel.log import Log, log_key
from worker.channel.publisher import Publisher
from worker.errors import InvalidCursor, JobNotFound
from worker.store import Store


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
