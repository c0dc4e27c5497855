"""Publishing: what arrives is grouped by itself, applied once, and lost by nobody."""

import asyncio
import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError

from tests.jobs import new_id
from tests.proxy import Proxy
from tests.reader import Reader
from tests.servers import RedisServer
from tests.streams import Holder, Standing, fast_failing, publishing, rich_chunks
from tests.wire import until
from worker.channel.log import log_key


async def entries(redis: Redis, job: str) -> list[tuple[str, dict[str, Any]]]:
    found: Any = await redis.xrange(log_key(job))
    return [(id.decode(), json.loads(fields[b"e"])) for id, fields in found]


async def texts(redis: Redis, job: str) -> list[str]:
    return [event["text"] for _, event in await entries(redis, job) if event["type"] == "delta"]


async def read(redis: Redis, job: str) -> Reader:
    """A reader that has heard the whole log."""
    reader = Reader()
    for id, event in await entries(redis, job):
        assert id == event["id"]
        assert event["job"] == job
        reader.hear(json.dumps(event).encode())
    return reader


def same_output(reader: Reader, holder: Holder) -> None:
    """What the reader holds is what is saved."""
    expected: dict[tuple[int, str], str] = {}
    for message in holder.transcript.output():
        choice: Any = message["index"]
        for part, column in (("text", "content"), ("reasoning",) * 2, ("refusal",) * 2):
            if message.get(column):
                expected[choice, part] = str(message[column])
        calls: Any = message.get("tool_calls", [])
        # The test's calls have their index in their id, also where only one was opened.
        for call in calls:
            expected[choice, call["id"][-1]] = call["function"]["arguments"]
    assert reader.parts == expected


@pytest.fixture
async def proxy(redis_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(redis_url) as proxy:
        yield proxy


@pytest.fixture
async def slow(proxy: Proxy) -> AsyncIterator[Redis]:
    """A client whose answers the proxy may hold back."""
    async with fast_failing(proxy.url) as client:
        yield client


async def test_an_attempt_is_published_from_its_start_to_the_end(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.say("Hello, ", "world")
        holder.end()
        assert await publisher.drain(5)
    assert [(id, event["type"]) for id, event in await entries(redis, holder.job)] == [
        ("1-0", "started"), ("1-12", "delta"), ("1-13", "completed"),
    ]  # fmt: skip
    same_output(await read(redis, holder.job), holder)


async def test_what_arrives_while_a_write_is_in_flight_goes_with_the_next(
    proxy: Proxy, slow: Redis, redis: Redis
) -> None:
    async with publishing(slow) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(3)]
        holders[0].start()
        assert await publisher.drain(5)
        proxy.hold()
        holders[0].say("prelude")
        await until(lambda: any(b"prelude" in data for data in proxy.requests))
        proxy.requests.clear()
        for number in range(100):
            for holder in holders:
                holder.say(f" {number}")
        for holder in holders[1:]:
            holder.start()
        proxy.release()
        assert await publisher.drain(5)
    sent = b"".join(proxy.requests)
    assert sent.count(b"EVALSHA") == 1
    assert [len(await texts(redis, holder.job)) for holder in holders] == [2, 1, 1]
    for holder in holders:
        same_output(await read(redis, holder.job), holder)


async def test_idle_a_delta_leaves_at_once(redis: Redis) -> None:
    async with publishing(redis, bulk_flush_s=60) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        for text in ("a", "b", "c"):
            holder.say(text)
            assert await publisher.drain(5)
        assert await texts(redis, holder.job) == ["a", "b", "c"]


async def test_bulk_jobs_wait_for_the_interval_and_a_drain_for_nothing(redis: Redis) -> None:
    async with publishing(redis, bulk_flush_s=60) as publisher:
        bulk, live = Holder(publisher, new_id(), bulk=True), Holder(publisher, new_id())
        bulk.start()
        live.start()
        for text in ("a", "b", "c"):
            bulk.say(text)
        live.say("d")
        await until(lambda: live.feed.dirty is False)
        assert await texts(redis, bulk.job) == []
        assert await publisher.drain(5)
        assert await texts(redis, bulk.job) == ["abc"]


async def test_bulk_jobs_are_flushed_when_the_interval_is_over(redis: Redis) -> None:
    async with publishing(redis, bulk_flush_s=0.02) as publisher:
        bulk = Holder(publisher, new_id(), bulk=True)
        bulk.start()
        for text in "abc":
            bulk.say(text)

            async def is_there(text: str = text) -> bool:
                return text in "".join(await texts(redis, bulk.job))

            await until(is_there)


@pytest.mark.parametrize("marker", [b"EVALSHA", b"\r\nEVAL\r\n", b"ZADD", b"ZREM"])
async def test_a_write_whose_answer_is_lost_is_sent_again_and_applied_once(
    proxy: Proxy, slow: Redis, redis: Redis, marker: bytes
) -> None:
    async with publishing(slow) as publisher:
        holder = Holder(publisher, new_id())
        await redis.script_flush()
        proxy.cut_after_request(marker)
        holder.start()
        for number in range(20):
            if number == 10 and marker != b"\r\nEVAL\r\n":
                proxy.cut_after_request(marker)
            holder.say(f"{number} ")
            await asyncio.sleep(0)
        holder.end()
        assert await publisher.drain(10)
    assert proxy.cuts >= 1
    same_output(await read(redis, holder.job), holder)
    assert not holder.fenced.is_set()
    assert await redis.zcard("deltaworks:open") == 0


async def test_random_answers_with_many_parts_are_published_as_they_are_saved(
    proxy: Proxy, slow: Redis, redis: Redis
) -> None:
    random = Random(1)
    async with publishing(slow) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(20)]
        for holder in holders:
            holder.start()
        for holder in holders:
            for chunk in rich_chunks(random):
                holder.take(chunk)
                if random.random() < 0.3:
                    await asyncio.sleep(0)
            if random.random() < 0.3:
                proxy.cut_after_request(b"EVALSHA")
            holder.end()
        assert await publisher.drain(10)
    for holder in holders:
        same_output(await read(redis, holder.job), holder)


async def test_more_jobs_than_one_call_takes_are_all_written(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(600)]
        for holder in holders:
            holder.start()
            holder.say("x")
        assert await publisher.drain(10)
    assert await redis.dbsize() == 601


async def test_a_log_always_has_a_life(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holder = Holder(publisher, new_id())

        async def life_s() -> float:
            assert await publisher.drain(5)
            return float(await redis.pttl(log_key(holder.job))) / 1000

        holder.start()
        assert 290 < await life_s() <= 300
        holder.say("text")
        assert 290 < await life_s() <= 300
        holder.retry()
        assert 290 < await life_s() <= 300
        second = Holder(publisher, holder.job, attempt=2)
        second.start()
        assert 290 < await life_s() <= 300
        second.end()
        assert 140 < await life_s() <= 150


async def test_a_higher_attempt_fences_the_lower_one(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        first = Holder(publisher, new_id())
        first.start()
        first.say("of the first")
        assert await publisher.drain(5)
        second = Holder(publisher, first.job, attempt=2)
        second.start()
        second.say("of the second")
        assert await publisher.drain(5)
        first.say(" a zombie speaks")
        await asyncio.wait_for(first.fenced.wait(), 5)
        first.say(" again")
        first.end()
        second.end()
        assert await publisher.drain(5)
    same_output(await read(redis, first.job), second)
    assert not second.fenced.is_set()


async def test_one_bad_key_does_not_hold_up_the_others(redis: Redis) -> None:
    async with publishing(redis) as publisher:
        holders = [Holder(publisher, new_id()) for _ in range(9)]
        await redis.set(log_key(holders[4].job), "not a stream")
        for holder in holders:
            holder.start()
            holder.say("text")
            holder.end()
        assert await publisher.drain(10)
    for holder in holders[:4] + holders[5:]:
        same_output(await read(redis, holder.job), holder)


async def test_a_full_redis_is_waited_for(redis: Redis, private_redis: RedisServer) -> None:
    async with fast_failing(private_redis.url) as full, publishing(full) as publisher:
        holder, other = Holder(publisher, new_id()), Holder(publisher, new_id())
        for each in (holder, other):
            each.start()
            each.say("before ")
        assert await publisher.drain(5)
        await full.config_set("maxmemory", "1")
        holder.say("meanwhile ")
        assert not await publisher.drain(0.3)
        other.say("meanwhile ")
        assert not await publisher.drain(0.3)
        await full.config_set("maxmemory", "0")
        for each in (holder, other):
            each.say("after")
            each.end()
        assert await publisher.drain(10)
        for each in (holder, other):
            same_output(await read(full, each.job), each)


async def test_a_redis_that_only_reads_is_waited_for(private_redis: RedisServer) -> None:
    async with fast_failing(private_redis.url) as replica, publishing(replica) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        assert await publisher.drain(5)
        # What the old master is for a moment, when another one is elected.
        await replica.execute_command("REPLICAOF", "127.0.0.1", "1")
        holder.say("text")
        assert not await publisher.drain(0.3)
        await replica.execute_command("REPLICAOF", "NO", "ONE")
        holder.end()
        assert await publisher.drain(10)
        same_output(await read(replica, holder.job), holder)


async def test_a_drain_says_what_was_not_written(private_redis: RedisServer) -> None:
    async with fast_failing(private_redis.url) as client, publishing(client) as publisher:
        assert await publisher.drain(0.1)
        private_redis.stop()
        holder = Holder(publisher, new_id())
        holder.start()
        assert not await publisher.drain(0.1)
        private_redis.start()
        assert await publisher.drain(10)
        assert [id for id, _ in await entries(client, holder.job)] == ["1-0"]


async def test_an_end_survives_a_redis_that_is_away_for_a_moment(
    private_redis: RedisServer,
) -> None:
    standing = Standing()
    async with fast_failing(private_redis.url) as client, publishing(client, standing) as publisher:
        holder = Holder(publisher, new_id())
        holder.start()
        holder.say("text")
        assert await publisher.drain(5)
        private_redis.stop()
        with pytest.raises(ConnectionError):
            await client.ping()
        holder.end()
        private_redis.restart(wipe=True)
        assert await publisher.drain(10)
        # A committed end needs nobody's word.
        assert standing.asked == []
        same_output(await read(client, holder.job), holder)
