"""A 429 is one for everybody, until the time it named; then a few go first."""

import asyncio

import pytest
from redis.asyncio import Redis

from tests.limiting import LEASE_S, PATIENCE_S, limiter_at, permit, rate_limited, scope, until
from worker.catalog import UNLIMITED, RateLimits
from worker.limiter import CoolDown, Failure, Limiter
from worker.limiter.ledger import Ledger
from worker.limiter.questions import scope_key
from worker.limiter.terms import Granted, NotNow, Outcome, Permit, Reason

CLEAN = Outcome(clean=True, failure=None, unheard=False)


def failed(failure: Failure) -> Outcome:
    return Outcome(clean=False, failure=failure, unheard=False)


async def fail(ledger: Ledger, failure: Failure, number: int = 1, of: Permit | None = None) -> None:
    for _ in range(number):
        await ledger.release(of or permit(), 0, failed(failure))


async def is_cooling(ledger: Ledger, asks: Permit) -> bool:
    answer = await ledger.acquire(asks, LEASE_S)
    return isinstance(answer, NotNow) and answer.reason is Reason.COOLING


async def end_cool_down(redis: Redis, model: str = "m") -> None:
    """As if its time had passed."""
    await redis.hset(scope_key(scope(model), "flow"), "due", 0)


async def reasons(ledger: Ledger, number: int, model: str = "m") -> list[Reason | None]:
    """Why not; None for each that was granted."""
    answers = [
        await ledger.acquire(permit(f"r{n}", model=model, of_model=UNLIMITED), LEASE_S)
        for n in range(number)
    ]
    return [None if isinstance(answer, Granted) else answer.reason for answer in answers]


async def test_a_429_cools_its_model_down_for_every_process(redis: Redis, redis_url: str) -> None:
    async with limiter_at(redis_url, "one") as one, limiter_at(redis_url, "two") as two:
        first = permit()
        assert await one.admit(first, 0) is None
        await one.release(first, failure=rate_limited(60.0))
        for limiter in (one, two):
            refused = await limiter.admit(permit("other"), 0)
            assert refused is not None
            assert refused.reason is Reason.COOLING
            assert 59 < refused.wait_s <= 66  # jitter: not all come back at the same moment
        assert await two.admit(permit("third", model="another"), 0) is None


async def test_a_cool_down_is_only_ever_extended(redis: Redis) -> None:
    ledger = Ledger(redis)
    for named_s in (10.0, 40.0, 5.0):
        await fail(ledger, rate_limited(named_s))
    assert 39 < (await ledger.state(scope())).cooling_s <= 40


async def test_a_grant_that_a_cool_down_overtakes_is_void(redis: Redis) -> None:
    ledger = Ledger(redis)
    before = await ledger.acquire(permit(), LEASE_S)
    assert isinstance(before, Granted)
    assert await ledger.stands(scope(), before)
    await fail(ledger, rate_limited(0.001))
    assert not await ledger.stands(scope(), before)
    await end_cool_down(redis)
    after = await ledger.acquire(permit("other"), LEASE_S)
    assert isinstance(after, Granted)
    assert await ledger.stands(scope(), after)
    # One more witness of the same cool-down voids nothing that was granted after it.
    await redis.flushall()
    assert await ledger.stands(scope(), after)


async def test_waiters_in_their_sleep_do_not_go_into_a_cool_down(
    redis: Redis, redis_url: str
) -> None:
    limits, flow = RateLimits(requests_per_minute=120), scope_key(scope(), "flow")
    async with limiter_at(redis_url) as limiter:
        first, second = (permit(f"job{n}", of_model=limits, share=0) for n in range(2))
        assert await limiter.admit(first, 0) is None
        taken = await redis.hget(flow, "requests")
        sleeper = asyncio.create_task(limiter.admit(second, 2.0))

        async def reserved() -> bool:
            return bool(await redis.hget(flow, "requests") != taken)

        await until(reserved)
        await limiter.release(first, failure=rate_limited(60.0))
        answer = await sleeper
        assert answer is not None
        assert answer.reason is Reason.COOLING


async def test_afterwards_two_go_and_each_clean_start_lets_two_more(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    slow = Reason.SLOW_START
    assert await reasons(ledger, 4) == [None, None, slow, slow]
    await ledger.observe(permit(), 1, {})
    assert await reasons(ledger, 4) == [None, None, slow, slow]
    await ledger.observe(permit(), 3, {})
    assert await reasons(ledger, 8) == [None] * 6 + [slow] * 2


async def test_thirty_clean_starts_open_it_again(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    await ledger.observe(permit(), 29, {})
    assert (await ledger.state(scope())).slow_start
    await ledger.observe(permit(), 1, {})
    assert not (await ledger.state(scope())).slow_start
    assert await reasons(ledger, 100) == [None] * 100


async def test_another_429_starts_over(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    await ledger.observe(permit(), 10, {})
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    assert await reasons(ledger, 3) == [None, None, Reason.SLOW_START]


async def test_a_first_one_that_ends_unheard_lets_another_try(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    assert await reasons(ledger, 3) == [None, None, Reason.SLOW_START]
    await ledger.release(permit(), 0, Outcome(clean=False, failure=None, unheard=True))
    assert await reasons(ledger, 2) == [None, Reason.SLOW_START]


async def test_without_news_others_try_after_a_while(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, rate_limited(60.0))
    await end_cool_down(redis)
    assert await reasons(ledger, 3) == [None, None, Reason.SLOW_START]
    flow = scope_key(scope(), "flow")
    await redis.hincrby(flow, "credited", -10_000_000)
    assert await reasons(ledger, 3) == [None, None, Reason.SLOW_START]


async def test_the_whole_way_back_from_a_429(redis_url: str) -> None:
    """Fifty callers, a 429 for the first, and all of them get through soon after."""
    async with limiter_at(redis_url) as limiter:
        first = permit("first")
        assert await limiter.admit(first, 0) is None
        await limiter.release(first, failure=rate_limited(0.2))
        open_at_once = await asyncio.gather(*(run_one(limiter, f"c{n}") for n in range(50)))
    assert None not in open_at_once


async def run_one(limiter: Limiter, job: str) -> str | None:
    asks = permit(job)
    if await limiter.admit(asks, PATIENCE_S) is not None:
        return None
    limiter.answered(asks, {}, clean=True)
    await limiter.release(asks, clean=True)
    return job


async def test_the_first_requests_to_an_upstream_without_known_limits_are_few(
    redis: Redis,
) -> None:
    ledger = Ledger(redis)
    assert await reasons(ledger, 10) == [None] * 8 + [Reason.SLOW_START] * 2
    await ledger.observe(permit(of_model=UNLIMITED), 1, {})
    assert await reasons(ledger, 100) == [None] * 100


OVERLOADED = Failure("overloaded", None, CoolDown(errors=2, within_s=10.0))
SERVER = Failure("server", None, CoolDown(calls=10, share=0.5))
CONNECTION = Failure("connection", None, CoolDown(calls=10, share=0.5, whole_key=True))


async def test_two_overloads_in_ten_seconds_cool_down_for_five_to_thirty(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, OVERLOADED)
    assert not await is_cooling(ledger, permit())
    await fail(ledger, OVERLOADED)
    assert 4.9 < (await ledger.state(scope())).cooling_s <= 30


async def test_an_overload_long_ago_does_not_count(redis: Redis) -> None:
    ledger, calls = Ledger(redis), scope_key(scope(), "calls")
    await fail(ledger, OVERLOADED)
    counts = await redis.hgetall(calls)
    await redis.delete(calls)
    for field, counted in counts.items():
        # As if counted twelve seconds ago: the second is the upper part, and the ring's place.
        assert isinstance(field, bytes)
        what, _, place = field.decode().partition(":")
        await redis.hset(calls, f"{what}:{(int(place) - 12) % 64}", int(counted) - 12 * 2**20)
    await fail(ledger, OVERLOADED)
    assert not await is_cooling(ledger, permit())


@pytest.mark.parametrize(
    ("clean", "errors", "cools"),
    [(0, 9, False), (0, 10, True), (5, 5, False), (9, 10, True), (100, 90, False)],
)
async def test_server_errors_cool_down_where_over_half_of_ten_calls_have_one(
    redis: Redis, clean: int, errors: int, cools: bool
) -> None:
    ledger = Ledger(redis)
    for _ in range(clean):
        await ledger.release(permit(), 0, CLEAN)
    await fail(ledger, SERVER, errors)
    assert await is_cooling(ledger, permit()) is cools


async def test_a_host_that_is_away_is_away_for_all_models(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, CONNECTION, 10)
    assert await is_cooling(ledger, permit(model="another"))


async def test_an_error_without_consequence_counts_as_a_call_only(redis: Redis) -> None:
    ledger = Ledger(redis)
    await fail(ledger, Failure("timeout"), 50)
    assert not await is_cooling(ledger, permit())
    await fail(ledger, SERVER, 40)
    assert not await is_cooling(ledger, permit())


async def test_retries_stop_when_the_budget_of_the_fleet_is_spent(
    redis: Redis, redis_url: str
) -> None:
    async with limiter_at(redis_url, "one") as one, limiter_at(redis_url, "two") as two:
        spent = [await one.spend_retry(scope(), 5) for _ in range(10)]
        spent += [await two.spend_retry(scope("another"), 10) for _ in range(5)]
        assert all(spent)
        assert not await two.spend_retry(scope(), 5)
        for number in range(5):
            asks = permit(f"job{number}")
            assert await one.admit(asks, 0) is None
            await one.release(asks, clean=True)
        assert await two.spend_retry(scope(), 5)
        assert not await one.spend_retry(scope(), 1)


async def test_the_retry_budget_never_exceeds_its_size(redis: Redis) -> None:
    ledger = Ledger(redis)
    assert await ledger.spend_retry(scope(), 1)
    for _ in range(3):
        await ledger.release(permit(), 0, CLEAN)
    assert (await ledger.state(scope())).retries_left == 100
