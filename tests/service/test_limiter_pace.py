"""The pace is exact, however many ask and from wherever."""

import asyncio
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from tests.limiting import LEASE_S, PATIENCE_S, limiter_at, permit, until
from worker.catalog import RateLimits
from worker.limiter.ledger import HORIZON_S, Ledger
from worker.limiter.questions import PACE, scope_key
from worker.limiter.terms import Granted, NotNow, Reason, Scope

ROOT = Path(__file__).parents[2]
BURST_S = {"requests": 0.25, "tokens": 5.0}
JOBS = map("job{}".format, count())


async def redis_now_s(redis: Redis) -> float:
    seconds, micros = await redis.time()
    return float(seconds) + micros / 1e6


async def full_at_s(redis: Redis, scope: Scope, unit: str) -> float:
    """When the bucket is full again."""
    return float(await redis.hget(scope_key(scope, "flow"), unit) or 0) / 1e6


class Bucket:
    """The arithmetic once more, in Python: `limiter.lua` says what it means."""

    def __init__(self, unit: str, per_minute: float, share: float) -> None:
        self.tokens = unit == "tokens"
        rate = per_minute * PACE / 60
        reserve = share * rate * BURST_S[unit]
        if not self.tokens:
            reserve = max(reserve, 1.0) if share else 0.0
        self.burst = max(rate * BURST_S[unit], 0.0 if self.tokens else 1 + reserve) / rate
        self.reserve = reserve / rate
        self.unit_s = 1 / rate

    def wait_s(self, full_at: float, now: float, cost: int, *, bulk: bool) -> float:
        burst = self.burst - (self.reserve if bulk else 0)
        needs = 0 if self.tokens and not bulk else cost * self.unit_s
        return max(0.0, full_at - now, 0.0) + min(needs, burst) - burst


@pytest.mark.parametrize("unit", ["requests", "tokens"])
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    per_minute=st.floats(30, 1e6),
    share=st.sampled_from([0.0, 0.1, 0.5, 0.9]),
    asked=st.lists(st.tuples(st.booleans(), st.integers(1, 5000)), min_size=1, max_size=25),
)
def test_every_answer_is_the_algorithms(
    redis_url: str, unit: str, per_minute: float, share: float, asked: Sequence[tuple[bool, int]]
) -> None:
    limits = msgspec.convert({f"{unit}_per_minute": per_minute}, RateLimits)
    bucket = Bucket(unit, per_minute, share)

    async def play() -> None:
        async with Redis.from_url(redis_url, protocol=2) as redis:
            ledger, model = Ledger(redis), next(JOBS)
            for bulk, tokens in asked:
                cost = tokens if unit == "tokens" else 1
                asks = permit(
                    next(JOBS), bulk=bulk, model=model, of_model=limits, share=share, tokens=tokens
                )
                full_at = await full_at_s(redis, asks.scope, unit)
                before = await redis_now_s(redis)
                answer = await ledger.acquire(asks, LEASE_S)
                after = await redis_now_s(redis)
                shortest = bucket.wait_s(full_at, after, cost, bulk=bulk)
                longest = bucket.wait_s(full_at, before, cost, bulk=bulk)
                horizon = HORIZON_S[bulk]
                if isinstance(answer, NotNow):
                    assert longest > horizon
                    assert answer.wait_s >= shortest - horizon
                    continue
                assert shortest <= horizon
                assert max(0, shortest) - 1e-5 <= answer.wait_s <= max(0, longest) + 1e-5
                next_full = await full_at_s(redis, asks.scope, unit)
                taken = cost * bucket.unit_s
                assert max(before, full_at) + taken - 1e-5 <= next_full
                assert next_full <= max(after, full_at) + taken + 1e-5

    asyncio.run(play())


async def ask_for_a_while(url: str, name: str, for_s: float, per_minute: float) -> list[float]:
    """The moments at which one caller after the other may go, by Redis' clock."""
    went: list[float] = []
    limits = RateLimits(requests_per_minute=per_minute)
    async with limiter_at(url, name) as limiter, Redis.from_url(url, protocol=2) as redis:
        end = await redis_now_s(redis) + for_s

        async def caller(number: int) -> None:
            job = permit(f"{name}-{number}", of_model=limits)
            while await limiter.admit(job, patience_s=for_s) is None:
                now = await redis_now_s(redis)
                await limiter.release(job, clean=True)
                if now > end:
                    return
                went.append(now)

        await asyncio.gather(*(caller(number) for number in range(40)))
    return went


def assert_paced(went: list[float], rate: float, for_s: float) -> None:
    went.sort()
    burst, late_s = rate * BURST_S["requests"], 0.1
    for window_s in (0.25, 0.5, 1.0):
        most = max(sum(start <= other < start + window_s for other in went) for start in went)
        assert most <= burst + rate * (window_s + late_s) + 1
    assert len(went) >= 0.95 * rate * for_s


async def test_callers_of_many_processes_go_at_the_rate_and_no_slot_is_lost(
    redis_url: str,
) -> None:
    command = [sys.executable, "-m", "tests.service.test_limiter_pace", redis_url]
    children = [
        await asyncio.create_subprocess_exec(
            *command, f"p{number}", cwd=ROOT, stdout=asyncio.subprocess.PIPE
        )
        for number in range(3)
    ]
    printed = await asyncio.gather(*(child.communicate() for child in children))
    assert [child.returncode for child in children] == [0, 0, 0]
    went = [moment for out, _ in printed for moment in msgspec.json.decode(out, type=list[float])]
    # The processes do not begin at the same moment: what counts is from the last one's first.
    begin = max(msgspec.json.decode(out, type=list[float])[0] for out, _ in printed)
    end = min(msgspec.json.decode(out, type=list[float])[-1] for out, _ in printed)
    together = [moment for moment in went if begin <= moment <= end]
    assert_paced(together, 200 * PACE, end - begin)


async def test_a_single_request_goes_at_once_and_is_never_too_large(redis: Redis) -> None:
    ledger = Ledger(redis)
    limits = RateLimits(requests_per_minute=1, tokens_per_minute=60)
    large = permit(of_model=limits, tokens=100_000)
    answer = await ledger.acquire(large, LEASE_S)
    assert isinstance(answer, Granted)
    assert answer.wait_s == 0
    second = await ledger.acquire(permit("other", of_model=limits), LEASE_S)
    assert isinstance(second, NotNow)
    assert second.reason is Reason.TOKENS
    assert second.wait_s > 100_000 - 60


async def test_bulk_may_use_the_whole_flow_and_interactive_does_not_wait_behind_it(
    redis: Redis,
) -> None:
    ledger, limits = Ledger(redis), RateLimits(requests_per_minute=60)
    waits = []
    for number in range(50):
        answer = await ledger.acquire(permit(f"b{number}", bulk=True, of_model=limits), LEASE_S)
        waits.append(answer)
    assert isinstance(waits[0], Granted)
    assert isinstance(waits[-1], NotNow)
    watched = await ledger.acquire(permit("i", of_model=limits), LEASE_S)
    assert isinstance(watched, Granted)
    assert watched.wait_s <= HORIZON_S[True]


async def test_both_scopes_are_asked_and_the_narrower_decides(redis: Redis) -> None:
    ledger = Ledger(redis)
    narrow, wide = RateLimits(requests_per_minute=1), RateLimits(requests_per_minute=6e6)

    async def second_of(of_key: RateLimits, of_model: RateLimits, model: str) -> Granted | NotNow:
        answers = [
            await ledger.acquire(
                permit(f"{model}{number}", of_key=of_key, of_model=of_model, model=model), LEASE_S
            )
            for number in range(4)
        ]
        return answers[-1]

    assert isinstance(await second_of(wide, narrow, "a"), NotNow)
    assert isinstance(await second_of(wide, wide, "b"), Granted)
    assert isinstance(await second_of(narrow, wide, "c"), NotNow)
    # Another model of the same key stands before the same limit.
    assert isinstance(await ledger.acquire(permit("d", of_key=narrow, model="d"), LEASE_S), NotNow)


@pytest.mark.parametrize(("used", "more_s"), [(0, -10.0), (20, 10.0)])
async def test_usage_corrects_the_estimate(
    redis: Redis, redis_url: str, used: int, more_s: float
) -> None:
    async with limiter_at(redis_url) as limiter:
        asks = permit(of_model=RateLimits(tokens_per_minute=60 / PACE), tokens=10)
        assert await limiter.admit(asks, 0) is None
        estimated = await full_at_s(redis, asks.scope, "tokens")
        await limiter.release(asks, used_tokens=used, clean=True)
        corrected = await full_at_s(redis, asks.scope, "tokens")
    assert corrected - estimated == pytest.approx(more_s, abs=0.1)


async def test_what_was_reserved_and_never_sent_gives_its_tokens_back(
    redis: Redis, redis_url: str
) -> None:
    limits = RateLimits(requests_per_minute=60, tokens_per_minute=60 / PACE)
    async with limiter_at(redis_url) as limiter:
        first, second = (permit(f"job{n}", of_model=limits, share=0, tokens=2) for n in range(2))
        assert await limiter.admit(first, PATIENCE_S) is None
        waiting = asyncio.create_task(limiter.admit(second, PATIENCE_S))

        async def in_debt_s() -> float:
            return await full_at_s(redis, first.scope, "tokens") - await redis_now_s(redis)

        async def reserved() -> bool:
            return await in_debt_s() > 2

        await until(reserved)
        waiting.cancel()
        await asyncio.wait([waiting])
        await limiter.release(second)
        assert await in_debt_s() <= 2


if __name__ == "__main__":
    moments = asyncio.run(ask_for_a_while(sys.argv[1], sys.argv[2], 2.5, 200 * 60))
    sys.stdout.buffer.write(msgspec.json.encode(sorted(moments)))
