"""What all workers know of the upstreams, in Redis: its keys, and the one script that changes it.

Every method raises `RedisError` or `OSError` where Redis does not answer.
"""

import random
from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec
from redis.asyncio import Redis

from worker.limiter.questions import (
    MICROSECONDS,
    PACE,
    PROCESSES,
    Acquire,
    Observe,
    Release,
    account,
    beginning,
    limits_of,
    retries_key,
    scope_key,
    scope_keys,
    stream_keys,
)
from worker.limiter.terms import Granted, NotNow, Outcome, Permit, Readings, Reason, Scope, State
from worker.pipeline import Pipeline, Script

RETRY_BUDGET = 100

# How far ahead slots may be reserved. Interactive requests wait for at most what bulk reserved;
# nobody waits long for a slot that a cool-down takes back.
HORIZON_S = {False: 1.0, True: 0.25}
"""By whether the permit is bulk."""

# How often streams that end elsewhere, or others' first starts, are looked for.
POLL_S = 0.1

# By the script's numbers for them, from 1.
_REASONS = (
    Reason.COOLING,
    Reason.SLOW_START,
    Reason.STREAMS,
    Reason.REQUESTS,
    Reason.TOKENS,
)
_SCRIPT = files("worker.limiter").joinpath("limiter.lua").read_bytes()


class Ledger:
    """The fleet's books over one Redis client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = Script(Pipeline(redis), _SCRIPT)

    async def acquire(self, permit: Permit, lease_s: float) -> Granted | NotNow:
        """Reserve a request, its tokens and its stream, all or nothing."""
        question = Acquire(
            member=permit.member,
            bulk=permit.bulk,
            share=permit.interactive_share,
            tokens=permit.tokens,
            limits=limits_of(permit),
            horizon=HORIZON_S[permit.bulk] * MICROSECONDS,
            lease=lease_s * MICROSECONDS,
        )
        answer = await self._run("acquire", scope_keys(permit.scope), question)
        wait_s = answer[1] / MICROSECONDS
        if answer[0]:
            return Granted(wait_s, epochs=answer[2], watched=bool(answer[3]))
        return _refusal(_REASONS[answer[2] - 1], wait_s, permit.bulk)

    async def stands(self, scope: Scope, granted: Granted) -> bool:
        """Whether no cool-down began since the grant."""
        pipe = self._redis.pipeline(transaction=False)
        for each in (scope.of_key, scope):
            pipe.hget(scope_key(each, "flow"), "epoch")
        return sum(int(epoch or 0) for epoch in await pipe.execute()) <= granted.epochs

    async def release(self, permit: Permit, correction: int, outcome: Outcome) -> None:
        """Give back the stream, correct the tokens, and count how it went.

        Args:
            permit: what was granted.
            correction: tokens that were used, less the estimate.
            outcome: how the attempt went.
        """
        failure = outcome.failure
        cool_down = failure.cool_down if failure else None
        question = Release(
            member=permit.member,
            tokens=correction,
            limits=limits_of(permit),
            clean=outcome.clean,
            failed=failure is not None,
            unheard=outcome.unheard,
            failure=beginning(failure, cool_down) if failure and cool_down else None,
        )
        keys = [*scope_keys(permit.scope), retries_key(permit.scope)]
        await self._run("release", keys, question)

    async def observe(self, permit: Permit, starts: int, readings: Readings) -> None:
        """Note what responses said: watched clean starts, and the newest readings of headers."""
        paced = {
            unit: msgspec.structs.replace(reading, limit=reading.limit * PACE / 60)
            for unit, reading in readings.items()
        }
        question = Observe(starts, permit.interactive_share, limits_of(permit), paced)
        await self._run("observe", scope_keys(permit.scope), question)

    async def renew(self, permits: Sequence[Permit], lease_s: float) -> None:
        """Hold the permits' streams for another lease, those that Redis has lost, too.

        One round trip, one call for each account: its keys lie in one cluster slot.
        """
        accounts: dict[str, dict[str, list[str]]] = {}
        for permit in permits:
            for key in stream_keys(permit):
                of_account = accounts.setdefault(account(permit.scope), {})
                of_account.setdefault(key, []).append(permit.member)
        for members in accounts.values():
            question = {"members": list(members.values()), "lease": lease_s * MICROSECONDS}
            await self._run("renew", list(members), question)

    async def forget(self, permits: Sequence[Permit]) -> None:
        """Take back the streams of permits that are over."""
        pipe = self._redis.pipeline(transaction=False)
        for permit in permits:
            for key in stream_keys(permit):
                pipe.zrem(key, permit.member)
        await pipe.execute()

    async def beat(self, process: str, life_s: float) -> int:
        """Say that the process lives; how many do."""
        question = {"member": process, "lease": life_s * MICROSECONDS}
        (count,) = await self._run("beat", [PROCESSES], question)
        return count

    async def spend_retry(self, scope: Scope, cost: int) -> bool:
        """Take a retry's cost from the account's budget; False where too little is left."""
        (taken,) = await self._run("spend", [retries_key(scope)], {"cost": cost})
        return bool(taken)

    async def state(self, scope: Scope) -> State:
        """The scope as it is now."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.time()
        pipe.hgetall(scope_key(scope, "flow"))
        pipe.zrange(scope_key(scope, "streams"), 0, -1, withscores=True)
        pipe.get(retries_key(scope))
        (seconds, micros), fields, streams, retries = await pipe.execute()
        now = seconds * MICROSECONDS + micros
        flow = {name.decode(): float(value) for name, value in fields.items()}
        return State(
            cooling_s=max(0.0, flow.get("due", 0.0) - now) / MICROSECONDS,
            slow_start=flow.get("wanted", 0.0) > 0,
            open_streams=sum(expiry > now for _, expiry in streams),
            learned_requests_per_minute=_learned(flow, "requests", now),
            learned_tokens_per_minute=_learned(flow, "tokens", now),
            retries_left=RETRY_BUDGET if retries is None else int(retries),
        )

    async def _run(self, operation: str, keys: Sequence[str], question: object) -> list[int]:
        return await self._script.run(keys, (operation, msgspec.json.encode(question)))


def _refusal(reason: Reason, wait_s: float, bulk: bool) -> NotNow:
    """Those who ask again must not all come at once, nor for every slot that comes into reach."""
    match reason:
        case Reason.COOLING:
            extra_s = random.uniform(0, min(0.2 * wait_s, 5.0))  # noqa: S311  no secret
        case Reason.REQUESTS | Reason.TOKENS:
            extra_s = HORIZON_S[bulk] * random.uniform(0.25, 0.5)  # noqa: S311  no secret
        case _:
            extra_s = POLL_S * random.uniform(1, 2)  # noqa: S311  no secret
    return NotNow(wait_s + extra_s, reason)


def _learned(flow: Mapping[str, float], unit: str, now: float) -> float | None:
    believed = flow.get(f"{unit}_until", 0.0) > now
    return flow[f"{unit}_learned"] * 60 / PACE if believed else None
