"""With Redis gone each process keeps to its part of the limits; it says so once; nothing stops."""

import asyncio
import logging
import socket
import time

import pytest
from redis.asyncio import Redis

from tests.limiting import limiter_at, permit, rate_limited, scope, until
from tests.servers import RedisServer, free_port
from worker.catalog import UNLIMITED, RateLimits
from worker.limiter import Limiter
from worker.limiter.ledger import Ledger
from worker.limiter.terms import Permit, Reason


@pytest.fixture
def gone() -> str:
    """The URL of a Redis that is not there."""
    return f"redis://127.0.0.1:{free_port()}/0"


async def admitted(limiter: Limiter, asked: list[Permit]) -> int:
    refusals = [await limiter.admit(asks, 0) for asks in asked]
    for asks in asked:
        await limiter.release(asks, clean=True)
    return refusals.count(None)


async def test_work_goes_on_and_the_log_says_so_once(
    private_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "worker.limiter")
    async with limiter_at(private_redis.url, "one") as one, limiter_at(private_redis.url) as two:
        for limiter in (two, one):
            await limiter.renew()
        private_redis.kill()
        assert await admitted(one, [permit(f"job{n}") for n in range(20)]) == 20
        await one.renew()
        assert await one.spend_retry(scope(), 5)
        assert await one.state(scope()) is None
        assert [record.getMessage() for record in caplog.records] == [
            "Redis is gone (ConnectionError): this process keeps to 1/2 of every limit "
            "until it is back"
        ]
        held = permit("held", of_model=RateLimits(requests_per_minute=6e6, max_streams=5))
        assert await one.admit(held, 0) is None
        private_redis.restart(wipe=True)
        await one.renew()
        assert "Redis is back" in caplog.records[-1].getMessage()
        assert len(caplog.records) == 2
        state = await one.state(scope())
        assert state is not None
        assert state.open_streams == 1


async def test_the_processs_part_is_the_limit_over_the_processes(
    private_redis: RedisServer,
) -> None:
    limits = RateLimits(requests_per_minute=6000)
    async with limiter_at(private_redis.url, "one") as one, limiter_at(private_redis.url) as two:
        await two.renew()
        await one.renew()
        private_redis.kill()
        began = time.monotonic()
        asked = [permit(f"job{number}", of_model=limits) for number in range(26)]
        answers = await asyncio.gather(*(one.admit(asks, 10.0) for asks in asked))
    assert answers == [None] * 26
    assert 25 / 50 < time.monotonic() - began < 5 * 25 / 50


async def test_streams_cool_downs_and_learned_limits_hold_there_too(gone: str) -> None:
    async with limiter_at(gone) as limiter:
        five = RateLimits(max_streams=5)
        bulk = [permit(f"b{n}", bulk=True, of_key=five, of_model=UNLIMITED) for n in range(6)]
        assert [await limiter.admit(asks, 0) is None for asks in bulk] == [True] * 4 + [False] * 2
        watched = permit("i", of_key=five, of_model=UNLIMITED)
        assert await limiter.admit(watched, 0) is None
        limiter.answered(watched, {"x-ratelimit-limit-requests": "1"}, clean=True)
        await limiter.release(watched, clean=True)
        assert await admitted(limiter, [permit(f"l{n}", of_model=UNLIMITED) for n in range(3)]) == 1
        first = permit("c", model="other", of_model=UNLIMITED)
        assert await limiter.admit(first, 0) is None
        await limiter.release(first, failure=rate_limited(60.0))
        refused = await limiter.admit(permit("d", model="other", of_model=UNLIMITED), 0)
        assert refused is not None
        assert refused.reason is Reason.COOLING


async def test_retries_have_a_budget_there_too(gone: str) -> None:
    async with limiter_at(gone) as limiter:
        spent = [await limiter.spend_retry(scope(), 10) for _ in range(11)]
        assert spent == [True] * 10 + [False]
        asks = permit()
        for _ in range(10):
            assert await limiter.admit(asks, 0) is None
            await limiter.release(asks, clean=True)
        assert await limiter.spend_retry(scope(), 10)


async def test_a_redis_that_hangs_is_as_good_as_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with limiter_at(f"redis://127.0.0.1:{silent.getsockname()[1]}/0") as limiter:
            began = time.monotonic()
            asked = [permit(f"job{n}") for n in range(100)]
            assert (
                await asyncio.gather(*(limiter.admit(asks, 10.0) for asks in asked)) == [None] * 100
            )
            assert time.monotonic() - began < 5


async def test_it_comes_back_by_itself(private_redis: RedisServer) -> None:
    private_redis.stop()
    async with limiter_at(private_redis.url) as limiter:
        running = asyncio.create_task(limiter.run())
        asks = permit(of_model=RateLimits(max_streams=3))
        assert await limiter.admit(asks, 5.0) is None
        private_redis.start()
        async with Redis.from_url(private_redis.url, protocol=2) as redis:

            async def is_back() -> bool:
                return (await Ledger(redis).state(scope())).open_streams == 1

            await until(is_back)
        running.cancel()
        await asyncio.wait([running])
