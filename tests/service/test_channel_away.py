"""Following a job while Redis, or the job's holder, is away: the database knows the end."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.following import TEXT, follow, running, subscribers
from tests.jobs import ended
from tests.proxy import Proxy
from tests.servers import RedisServer
from tests.streams import fast_failing, following, publishing
from tests.wire import until
from worker.channel.events import Cursor
from worker.channel.follow import Follower
from worker.channel.publisher import Publisher
from worker.store import Store


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


async def test_an_end_that_nobody_announced_is_learned_from_the_database(
    follower: Follower, rows: Store, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "0123")
    reading = asyncio.create_task(follow(follower, holder.job))
    # The holder dies after its commit: neither the rest nor the end reaches Redis.
    assert await rows.holds.settle(ended(holder.row(), TEXT), None)
    assert (await reading).flow == TEXT
