"""Open streams are counted as long as somebody holds them, and no longer."""

import asyncio
import time

import pytest
from redis.asyncio import Redis

from tests.limiting import LEASE_S, PATIENCE_S, limiter_at, permit, rate_limited, scope, until
from worker.catalog import UNLIMITED, RateLimits
from worker.limiter import Limiter
from worker.limiter.ledger import Ledger
from worker.limiter.questions import scope_key
from worker.limiter.terms import Granted, NotNow, Reason

TWO = RateLimits(requests_per_minute=6e6, max_streams=2)
TEN = RateLimits(requests_per_minute=6e6, max_streams=10)


async def granted(ledger: Ledger, number: int, *, bulk: bool, limits: RateLimits) -> int:
    lane = "b" if bulk else "i"
    answers = [
        await ledger.acquire(permit(f"{lane}{n}", bulk=bulk, of_model=limits), LEASE_S)
        for n in range(number)
    ]
    return sum(isinstance(answer, Granted) for answer in answers)


@pytest.mark.parametrize(("most", "bulk"), [(10, 9), (11, 9), (2, 1), (1, 1)])
async def test_bulk_leaves_some_streams_to_interactive(redis: Redis, most: int, bulk: int) -> None:
    ledger = Ledger(redis)
    limits = RateLimits(requests_per_minute=6e6, max_streams=most)
    assert await granted(ledger, 20, bulk=True, limits=limits) == bulk
    assert await granted(ledger, 20, bulk=False, limits=limits) == most - bulk


async def test_a_stream_that_ends_makes_room_at_once(redis_url: str) -> None:
    async with limiter_at(redis_url) as limiter:
        first, second, third = (permit(f"job{n}", of_model=TWO) for n in range(3))
        assert await limiter.admit(first, 0) is None
        assert await limiter.admit(second, 0) is None
        refused = await limiter.admit(third, 0)
        assert refused is not None
        assert refused.reason is Reason.STREAMS
        waiting = asyncio.create_task(limiter.admit(third, PATIENCE_S))
        await limiter.release(first, clean=True)
        assert await waiting is None


async def test_an_interactive_job_starts_within_a_second_beside_saturating_bulk(
    redis_url: str,
) -> None:
    limits = RateLimits(requests_per_minute=3000, tokens_per_minute=300_000, max_streams=20)
    gone: list[int] = []

    async def bulk(limiter: Limiter, number: int) -> None:
        asks = permit(f"b{number}", bulk=True, of_key=limits, of_model=UNLIMITED)
        while await limiter.admit(asks, PATIENCE_S) is None:
            gone.append(number)
            await asyncio.sleep(0.3)
            await limiter.release(asks, clean=True)

    async def saturated() -> bool:
        return len(gone) > 60  # far more than the burst: bulk goes as fast as it may

    async with (
        limiter_at(redis_url) as limiter,
        limiter_at(redis_url, "other") as other,
        asyncio.TaskGroup() as group,
    ):
        loads = [group.create_task(bulk(limiter, number)) for number in range(60)]
        await until(saturated)
        for number in range(10):
            asks = permit(f"i{number}", of_key=limits, of_model=UNLIMITED)
            began = time.monotonic()
            assert await other.admit(asks, PATIENCE_S) is None
            assert time.monotonic() - began < 1
            await other.release(asks, clean=True)
        for load in loads:
            load.cancel()


async def test_a_permit_lives_as_long_as_its_lease(redis: Redis) -> None:
    ledger = Ledger(redis)
    for number in range(2):
        await ledger.acquire(permit(f"job{number}", of_model=TWO), 0.2)
    answer = await ledger.acquire(permit("third", of_model=TWO), LEASE_S)
    assert isinstance(answer, NotNow)
    await ledger.renew([permit("job0", of_model=TWO)], LEASE_S)
    assert (await ledger.state(scope())).open_streams >= 1

    async def third_fits() -> bool:
        return await granted(ledger, 1, bulk=False, limits=TWO) == 1

    await until(third_fits)
    fourth = await ledger.acquire(permit("fourth", of_model=TWO), LEASE_S)
    assert isinstance(fourth, NotNow)  # job0's was renewed


async def test_permits_come_back_after_a_loss_of_redis(redis: Redis, redis_url: str) -> None:
    ledger = Ledger(redis)
    async with limiter_at(redis_url) as limiter:
        held = [permit(f"job{n}", of_model=TEN, of_key=TWO) for n in range(2)]
        for asks in held:
            assert await limiter.admit(asks, 0) is None
        await redis.flushall()
        await redis.script_flush()
        assert (await ledger.state(scope())).open_streams == 0
        await limiter.renew()
        assert (await ledger.state(scope())).open_streams == 2
        assert (await ledger.state(scope("*"))).open_streams == 2
        await limiter.release(held[0], clean=True)
        await limiter.renew()
        assert (await ledger.state(scope())).open_streams == 1


async def test_a_renewal_does_not_bring_back_what_was_released_meanwhile(
    redis: Redis, redis_url: str
) -> None:
    ledger = Ledger(redis)
    async with limiter_at(redis_url) as limiter:
        for number in range(50):
            asks = permit(f"job{number}", of_model=TEN)
            assert await limiter.admit(asks, 0) is None
            await asyncio.gather(limiter.renew(), limiter.release(asks, clean=True))
        assert (await ledger.state(scope())).open_streams == 0


async def test_who_gives_up_leaves_nothing_behind(redis: Redis, redis_url: str) -> None:
    ledger = Ledger(redis)
    slow = RateLimits(requests_per_minute=120, max_streams=10)
    async with limiter_at(redis_url) as limiter:
        first, second = (permit(f"job{n}", of_model=slow, share=0) for n in range(2))
        assert await limiter.admit(first, 0) is None
        waiting = asyncio.create_task(limiter.admit(second, PATIENCE_S))

        async def reserved() -> bool:
            return (await ledger.state(scope())).open_streams == 2

        await until(reserved)
        waiting.cancel()
        await asyncio.wait([waiting])
        await limiter.release(second)
        assert (await ledger.state(scope())).open_streams == 1


async def test_those_who_wait_go_in_their_order(redis_url: str) -> None:
    one = RateLimits(requests_per_minute=6e6, max_streams=1)
    went: list[int] = []
    async with limiter_at(redis_url) as limiter:

        async def caller(number: int) -> None:
            asks = permit(f"job{number}", of_model=one)
            assert await limiter.admit(asks, PATIENCE_S) is None
            went.append(number)
            await limiter.release(asks, clean=True)

        await asyncio.gather(*(caller(number) for number in range(20)))
    assert went == list(range(20))


async def test_whoever_lost_patience_in_the_line_is_told_when_to_come_again(
    redis_url: str,
) -> None:
    one = RateLimits(requests_per_minute=6e6, max_streams=1)
    async with limiter_at(redis_url) as limiter:
        holder = permit("holder", of_model=one)
        assert await limiter.admit(holder, 0) is None
        first = asyncio.create_task(limiter.admit(permit("first", of_model=one), PATIENCE_S))
        await asyncio.sleep(0)
        refused = await limiter.admit(permit("second", of_model=one), 0.1)
        assert refused is not None
        assert refused.reason is Reason.QUEUE
        assert refused.wait_s > 0
        first.cancel()


async def test_every_key_has_a_life_of_its_own(redis: Redis, redis_url: str) -> None:
    async with limiter_at(redis_url) as limiter:
        asks = permit(of_model=TEN, of_key=TWO)
        assert await limiter.admit(asks, 0) is None
        limiter.answered(asks, {"x-ratelimit-limit-requests": "100"}, clean=True)
        await limiter.renew()
        await limiter.spend_retry(asks.scope, 5)
        await limiter.release(asks, failure=rate_limited(7200.0))
        await limiter.admit(permit("again", of_model=TEN), 0)
    keys = await redis.keys("*")
    assert len(keys) >= 5
    assert all([await redis.ttl(key) > 0 for key in keys])
    assert await redis.ttl(scope_key(scope(), "flow")) > 7200
