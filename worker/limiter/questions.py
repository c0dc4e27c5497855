"""How the script is asked: its keys, and its arguments in its own units (limiter.lua says more)."""

import hashlib
from functools import lru_cache

from msgspec import Struct

from worker.catalog import RateLimits
from worker.limiter.terms import CoolDown, Failure, Permit, Readings, Scope

PROCESSES = "deltaworks:limit:processes"

# Upstreams count when a request arrives, by another clock: at exactly the limit, what the network
# delays or bunches would be refused.
PACE = 0.98

MICROSECONDS = 1e6


class ScopeLimits(Struct):
    """Units a second; 0 is no limit."""

    requests: float
    tokens: float
    streams: int


class Acquire(Struct):
    """What is asked for; durations are microseconds."""

    member: str
    bulk: bool
    share: float
    tokens: int
    limits: tuple[ScopeLimits, ScopeLimits]
    horizon: float
    lease: float


class Failed(Struct):
    """An error, the scope it may cool (1 the account, 2 the model), and from when on."""

    category: str
    scope: int
    wait: float
    errors: int
    calls: int
    share: float
    within: float


class Release(Struct, omit_defaults=True):
    """How an attempt went; `tokens` is what it used less the estimate."""

    member: str
    tokens: int
    limits: tuple[ScopeLimits, ScopeLimits]
    clean: bool = False
    failed: bool = False
    unheard: bool = False
    failure: Failed | None = None


class Observe(Struct):
    """Clean starts that were watched, and readings with limits a second."""

    starts: int
    share: float
    limits: tuple[ScopeLimits, ScopeLimits]
    readings: Readings


def account(scope: Scope) -> str:
    """Stands for the upstream's address and key in key names."""
    named = f"{scope.base_url} {scope.key_fingerprint}"
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def scope_key(scope: Scope, kind: str) -> str:
    """The key of one scope; the kind comes first, for a model's name may be anything."""
    return f"deltaworks:limit:{{{account(scope)}}}:{kind}:{scope.model}"


@lru_cache(maxsize=1_024)
def retries_key(scope: Scope) -> str:
    """The key of the account's retry budget."""
    return f"deltaworks:limit:{{{account(scope)}}}:retries"


# Each request of a scope asks for them twice, and its hash is the dearest part of the question.
@lru_cache(maxsize=1_024)
def scope_keys(scope: Scope) -> tuple[str, ...]:
    """The keys of the account's and of the model's scope, in the order of the script."""
    kinds = ("flow", "streams", "calls")
    return tuple(scope_key(each, kind) for each in (scope.of_key, scope) for kind in kinds)


def stream_keys(permit: Permit) -> list[str]:
    """The sets of open streams that the permit is a member of."""
    limited = ((permit.scope.of_key, permit.key_limits), (permit.scope, permit.model_limits))
    return [scope_key(scope, "streams") for scope, limits in limited if limits.max_streams]


def limits_of(permit: Permit) -> tuple[ScopeLimits, ScopeLimits]:
    """The configured limits of the account's and the model's scope."""
    return _per_second(permit.key_limits), _per_second(permit.model_limits)


def beginning(failure: Failure, cool_down: CoolDown) -> Failed:
    """The failure, and from when on it begins a cool-down."""
    return Failed(
        category=failure.category,
        scope=1 if cool_down.whole_key else 2,
        wait=cool_down.wait_s(failure.retry_after_s) * MICROSECONDS,
        errors=cool_down.errors,
        calls=cool_down.calls,
        share=cool_down.share,
        within=cool_down.within_s,
    )


def _per_second(limits: RateLimits) -> ScopeLimits:
    return ScopeLimits(
        requests=(limits.requests_per_minute or 0.0) * PACE / 60,
        tokens=(limits.tokens_per_minute or 0.0) * PACE / 60,
        streams=limits.max_streams or 0,
    )
