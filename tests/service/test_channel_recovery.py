"""Redis loses logs: the holder writes them anew, once the database says that it still holds."""

from collections.abc import Mapping
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.jobs import new_id
from tests.reader import Reader
from tests.servers import RedisServer
from tests.streams import (
    Holder,
    Standing,
    chunk,
    fast_failing,
    publishing,
    rich_chunks,
    tool_call,
)
from tests.wire import until
from worker.channel.log import channel_name, log_key


async def payloads(redis: Redis, job: str) -> list[bytes]:
    found: Any = await redis.xrange(log_key(job))
    return [fields[b"e"] for _, fields in found]


async def assert_published(redis: Redis, holder: Holder) -> None:
    """The log says what the transcript has, and has a life."""
    reader = Reader()
    for payload in await payloads(redis, holder.job):
        reader.hear(payload)
    assert reader.parts.get((0, "text"), "") == holder.transcript.output_text
    assert sum(map(len, reader.parts.values())) + len(reader.names) == holder.transcript.length
    assert await redis.pttl(log_key(holder.job)) > 0


async def test_a_lost_log_is_written_anew_from_the_start(redis: Redis) -> None:
    standing, random = Standing(), Random(2)
    async with publishing(redis, standing) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(20)]
        for holder in holders:
            holder.start()
            holder.take(*rich_chunks(random)[:-2])
        assert await publisher.drain(5)
        await redis.flushall()
        for holder in holders:
            holder.say("more")
        assert await publisher.drain(5)
        for holder in holders:
            await assert_published(redis, holder)
            holder.say(", and more")
            holder.end()
        assert await publisher.drain(5)
    for holder in holders:
        await assert_published(redis, holder)
    # All lost logs of a flush were asked for in one statement.
    assert len(standing.asked) <= 2
    assert {job for asked in standing.asked for job in asked} == {item.job for item in holders}
    assert {attempt for asked in standing.asked for attempt in asked.values()} == {1}


async def test_a_log_that_lacks_its_end_is_written_anew(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        for text in ("one ", "two ", "three "):
            holder.say(text)
            assert await publisher.drain(5)
        # What a Redis has that was restarted with its file of a second ago.
        found: Any = await redis.xrevrange(log_key(holder.job), count=1)
        last, _ = found[0]
        await redis.xdel(log_key(holder.job), last)
        holder.say("four")
        assert await publisher.drain(5)
        await assert_published(redis, holder)


async def test_of_a_rebuilt_log_only_the_last_entry_is_published(redis: Redis) -> None:
    async with publishing(redis) as publisher, redis.pubsub() as pubsub:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.take(chunk(reasoning_content="hm"), chunk(content="text"))
        assert await publisher.drain(5)
        await redis.flushall()
        await pubsub.subscribe(channel_name(holder.job))
        await pubsub.get_message(timeout=5)
        holder.take(chunk(1, content="more"))
        assert await publisher.drain(5)
        message: Any = await pubsub.get_message(timeout=5)
        assert message["data"] == (await payloads(redis, holder.job))[-1]
        assert len(await payloads(redis, holder.job)) == 4
        assert await pubsub.get_message(ignore_subscribe_messages=True, timeout=0.05) is None


async def test_a_redis_that_kept_its_data_needs_no_word_of_the_database(
    private_redis: RedisServer,
) -> None:
    standing = Standing()
    async with fast_failing(private_redis.url) as client, publishing(client, standing) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.say("before ")
        assert await publisher.drain(5)
        private_redis.kill()
        holder.say("meanwhile ")
        private_redis.start()
        holder.say("after")
        assert await publisher.drain(10)
        await assert_published(client, holder)
    assert standing.asked == []


@pytest.mark.parametrize("wipe", [True, False])
async def test_restarts_again_and_again_lose_nothing(
    private_redis: RedisServer, wipe: bool
) -> None:
    async with fast_failing(private_redis.url) as client, publishing(client) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(5)]
        for holder in holders:
            holder.start()
        for number in range(4):
            for holder in holders:
                holder.say(f"{number} ")
            private_redis.restart(wipe=wipe)
            for holder in holders:
                holder.say("again ")
        for holder in holders:
            holder.end()
        assert await publisher.drain(15)
        for holder in holders:
            await assert_published(client, holder)


async def test_a_log_is_not_written_anew_by_who_has_lost_the_job(redis: Redis) -> None:
    standing = Standing()
    async with publishing(redis, standing) as publisher:
        lost, kept = Holder(publisher, new_id()), Holder(publisher, new_id())
        for holder in (lost, kept):
            holder.start()
            holder.say("text")
        assert await publisher.drain(5)
        await redis.flushall()
        standing.lost.add(lost.job)
        for holder in (lost, kept):
            holder.say(" more")
        assert await publisher.drain(5)
        lost.say(" and more")
        assert await publisher.drain(5)
        await assert_published(redis, kept)
        assert await redis.exists(log_key(lost.job)) == 0


async def test_a_database_that_is_away_is_asked_again(redis: Redis) -> None:
    class Away(Standing):
        async def __call__(self, held: Mapping[str, int]) -> set[str]:
            await super().__call__(held)
            if len(self.asked) < 3:
                raise ConnectionRefusedError
            return set(held)

    standing = Away()
    async with publishing(redis, standing) as publisher:
        holder, other = Holder(publisher, new_id()), Holder(publisher, new_id())
        for each in (holder, other):
            each.start()
        assert await publisher.drain(5)
        await redis.delete(log_key(holder.job))
        holder.say("text")
        # The others go on meanwhile.
        other.say("text")
        await until(lambda: not other.feed.dirty)
        assert await publisher.drain(10)
        for each in (holder, other):
            await assert_published(redis, each)


async def test_an_attempt_that_was_given_up_does_not_fence_the_next_one(redis: Redis) -> None:
    standing = Standing()
    async with publishing(redis, standing) as publisher:
        first = Holder(publisher, new_id())
        first.start()
        assert await publisher.drain(5)
        await redis.flushall()
        standing.answers.clear()
        first.say("text")
        await until(lambda: standing.asked)
        # Meanwhile the attempt fails: the row says 2, so 1 does not stand, and all is well.
        first.retry()
        second = Holder(publisher, first.job, attempt=2)
        second.start()
        second.say("text of the second")
        standing.lost.add(first.job)
        standing.answers.set()
        assert await publisher.drain(5)
        assert not first.fenced.is_set()
        assert not second.fenced.is_set()
        await assert_published(redis, second)


async def test_a_late_word_of_an_attempt_that_was_given_up_fences_nobody(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        first = Holder(publisher, new_id())
        first.start()
        assert await publisher.drain(5)
        second = Holder(publisher, first.job, attempt=2)
        second.start()
        assert await publisher.drain(5)
        first.retry()
        assert await publisher.drain(5)
        assert not first.fenced.is_set()


async def test_an_end_that_is_committed_while_the_database_is_asked_is_published(
    redis: Redis,
) -> None:
    standing = Standing()
    async with publishing(redis, standing) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        assert await publisher.drain(5)
        await redis.flushall()
        holder.say("all of it")
        # The row has ended, so the attempt does not stand; the holder hears of its end later.
        standing.lost.add(holder.job)
        assert await publisher.drain(5)
        assert not holder.fenced.is_set()
        holder.end()
        assert await publisher.drain(5)
        await assert_published(redis, holder)
        assert b'"type":"completed"' in (await payloads(redis, holder.job))[-1]


async def test_a_long_log_is_rewritten_in_few_large_pieces(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        for number in range(300):
            holder.say(f"{number:016d}" * 1000)
            assert await publisher.drain(5)
        entries = await payloads(redis, holder.job)
        # 4 MB were rewritten as 61 pieces of 64 KB; what came since then is as it came.
        assert 100 < len(entries) < 150
        assert max(map(len, entries)) < 66_000
        await assert_published(redis, holder)
        holder.end()
        assert await publisher.drain(5)
        await assert_published(redis, holder)


async def test_the_pieces_of_a_rebuilt_log_are_cut_at_any_part(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.take(chunk(reasoning_content="r" * 200_000), tool_call(0, "a" * 131_072, "f"))
        holder.take(tool_call(1, "", "g"), chunk(content="👩" * 70_000), chunk(refusal="no"))
        assert await publisher.drain(5)
        await redis.flushall()
        holder.take(chunk(content="."))
        assert await publisher.drain(5)
        await assert_published(redis, holder)


async def test_a_holder_that_is_silent_is_rebuilt_with_its_next_word(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.say("text")
        assert await publisher.drain(5)
        await redis.flushall()
        assert await publisher.drain(5)
        assert await redis.exists(log_key(holder.job)) == 0
        holder.end()
        assert await publisher.drain(5)
        await assert_published(redis, holder)
