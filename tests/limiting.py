"""What tests of the limiter have in common: permits, and limiters as other processes have them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from worker.catalog import RateLimits
from worker.limiter import CoolDown, Failure, Limiter, Permit, Scope

LEASE_S = 30.0
PATIENCE_S = 20.0
# More than any test uses up, so that nothing waits but what the test is about.
PLENTY = RateLimits(requests_per_minute=6e6)

AT_ONCE = CoolDown(least_s=1.0, most_s=5.0)


def scope(model: str = "m") -> Scope:
    return Scope("http://upstream/v1", "fingerprint", model)


def permit(
    job: str = "job",
    *,
    bulk: bool = False,
    of_model: RateLimits = PLENTY,
    of_key: RateLimits = RateLimits(),  # noqa: B008  immutable
    model: str = "m",
    share: float = 0.1,
    tokens: int = 100,
) -> Permit:
    return Permit(
        job=job,
        attempt=1,
        bulk=bulk,
        scope=scope(model),
        key_limits=of_key,
        model_limits=of_model,
        interactive_share=share,
        tokens=tokens,
    )


def rate_limited(wait_s: float | None) -> Failure:
    """A 429 that named the wait."""
    return Failure("rate_limit", wait_s, AT_ONCE)


@asynccontextmanager
async def limiter_at(url: str, process: str = "us") -> AsyncIterator[Limiter]:
    """A limiter over connections of its own, as in another process."""
    async with Redis.from_url(url, protocol=2) as redis:
        yield Limiter(redis, process, lease_s=LEASE_S, renew_s=10.0)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Return as soon as the condition is true; fail when it is not in time."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.002)
