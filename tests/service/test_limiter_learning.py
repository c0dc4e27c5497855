"""An upstream without configured limits is held to what it says of itself."""

from redis.asyncio import Redis

from tests.limiting import LEASE_S, limiter_at, permit, scope, until
from worker.catalog import UNLIMITED, RateLimits
from worker.limiter import Limiter
from worker.limiter.ledger import Ledger
from worker.limiter.questions import scope_key
from worker.limiter.terms import Granted, NotNow, Permit, Reading, Reason

SIXTY = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "6000",
    "x-ratelimit-remaining-tokens": "5900",
    "x-ratelimit-reset-tokens": "1s",
}


async def run_one(limiter: Limiter, asks: Permit, headers: dict[str, str]) -> None:
    assert await limiter.admit(asks, 0) is None
    limiter.answered(asks, headers, clean=True)
    await limiter.release(asks, clean=True)


async def learned(ledger: Ledger) -> None:
    async def is_learned() -> bool:
        return (await ledger.state(scope())).learned_requests_per_minute is not None

    await until(is_learned)


async def test_learned_limits_hold_for_every_process(redis: Redis, redis_url: str) -> None:
    ledger = Ledger(redis)
    async with limiter_at(redis_url) as limiter:
        await run_one(limiter, permit(of_model=UNLIMITED), SIXTY)
        await learned(ledger)
        state = await limiter.state(scope())
    assert state is not None
    assert (state.learned_requests_per_minute, state.learned_tokens_per_minute) == (60, 6000)
    answers = [
        await ledger.acquire(permit(f"job{n}", of_model=UNLIMITED), LEASE_S) for n in range(6)
    ]
    refusals = [answer for answer in answers if isinstance(answer, NotNow)]
    assert len(refusals) >= 2
    assert {refusal.reason for refusal in refusals} == {Reason.REQUESTS}


async def test_what_is_configured_stands_before_what_is_learned(redis: Redis) -> None:
    ledger, configured = Ledger(redis), RateLimits(requests_per_minute=6e6)
    await ledger.observe(permit(of_model=configured), 0, {"requests": Reading(limit=1.0)})
    answers = [
        await ledger.acquire(permit(f"job{n}", of_model=configured), LEASE_S) for n in range(20)
    ]
    assert all(isinstance(answer, Granted) for answer in answers)


async def test_a_learned_limit_is_forgotten_when_nothing_is_heard_of_it(redis: Redis) -> None:
    ledger, flow = Ledger(redis), scope_key(scope(), "flow")
    await ledger.observe(permit(of_model=UNLIMITED), 1, {"requests": Reading(limit=1.0)})
    assert 590 <= await redis.ttl(flow) <= 600
    await redis.hincrby(flow, "requests_until", -600_000_000)
    assert (await ledger.state(scope())).learned_requests_per_minute is None


async def test_what_others_used_up_is_not_ours_to_spend(redis: Redis) -> None:
    ledger, limits = Ledger(redis), RateLimits(requests_per_minute=6000)

    async def burst(model: str) -> int:
        asked = (permit(f"{model}{n}", model=model, of_model=limits) for n in range(30))
        answers = [await ledger.acquire(asks, LEASE_S) for asks in asked]
        return sum(isinstance(answer, Granted) and answer.wait_s == 0 for answer in answers)

    assert await burst("untouched") >= 20
    of_drained = permit(model="drained", of_model=limits)
    await ledger.observe(of_drained, 0, {"requests": Reading(remaining=2.0)})
    assert await burst("drained") <= 6


async def test_a_full_upstream_gives_no_more_than_the_burst(redis: Redis) -> None:
    ledger, limits = Ledger(redis), RateLimits(requests_per_minute=60)
    for number in range(3):
        await ledger.acquire(permit(f"job{number}", of_model=limits), LEASE_S)
    await ledger.observe(permit(of_model=limits), 0, {"requests": Reading(remaining=59.0)})
    answer = await ledger.acquire(permit("more", of_model=limits), LEASE_S)
    assert isinstance(answer, NotNow)
