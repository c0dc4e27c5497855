"""Admission: what each attempt waits for before its request goes, shared by all workers."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.exceptions import RedisError

from worker.limiter.ledger import Ledger
from worker.limiter.line import Line
from worker.limiter.readings import readings_of
from worker.limiter.reports import Reports
from worker.limiter.share import ProcessShare
from worker.limiter.terms import (
    Failure,
    Granted,
    NotNow,
    Outcome,
    Permit,
    Readings,
    Reason,
    Scope,
    State,
)
from worker.metrics import limiting

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A Redis that has not answered by now is as good as gone.
ANSWER_S = 2.0
# How often a Redis that is gone is asked whether it is back.
RETURN_S = 1.0
# A slot so near is as good as now: what began meanwhile could have begun just after, too.
UNCHECKED_S = 0.05

_NOT_SENT = Outcome(clean=False, failure=None, unheard=False)


class Held:
    """A permit that this process asked for and has not given back.

    Attributes:
        reserved: whether it holds a reservation, or may do.
        admitted: whether its request was let go.
        unheard: whether others wait for its clean start.
        reason: what there was none of when it was last asked for.
    """

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.reserved = False
        self.admitted = False
        self.unheard = False
        self.reason: Reason | None = None


class Limiter:
    """One for each process.

        refused = await limiter.admit(permit, patience_s=30)      before the request
        limiter.answered(permit, headers, clean=status == 200)    when its response begins
        await limiter.release(permit, ...)                        after all, whatever happened

    With Redis gone, each process keeps to its part of the limits, and nothing stops.
    """

    def __init__(self, redis: Redis, process: str, *, lease_s: float, renew_s: float) -> None:
        """A limiter for the process of that name; its permits live for a lease after a renewal."""
        self._ledger = Ledger(redis)
        self._process = process
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._share = ProcessShare()
        self._reports = Reports(self._observe)
        self._held: dict[str, Held] = {}
        self._lines: WeakValueDictionary[tuple[Scope, bool], Line] = WeakValueDictionary()
        self._redis_gone = False

    async def run(self) -> None:
        """Renew until cancelled; while Redis is gone, look for it."""
        while True:
            await self.renew()
            await asyncio.sleep(RETURN_S if self._redis_gone else self._renew_s)

    async def admit(self, permit: Permit, patience_s: float) -> NotNow | None:
        """Wait until the request may go, at most so long.

        A slot that was reserved is waited for, be it a second longer.

        Returns:
            None where it may go now; else when to come again, and what there was none of.
        """
        began = time.monotonic()
        deadline = began + patience_s
        held = self._held[permit.member] = Held(permit)
        line = self._line(permit)
        while True:
            question = partial(self._acquire, held)
            answer = await line.ask(question, deadline - time.monotonic())
            if isinstance(answer, NotNow):
                limiting.sent_away(permit, answer.reason, time.monotonic() - began)
                return answer
            await asyncio.sleep(answer.wait_s)
            if answer.wait_s <= UNCHECKED_S or await self._stands(permit.scope, answer):
                held.admitted = True
                paced = answer.wait_s > UNCHECKED_S
                reason = held.reason or (limiting.PACE if paced else Reason.QUEUE)
                limiting.admitted(permit, reason, time.monotonic() - began)
                return None
            await self._ask_redis(lambda: self._ledger.release(permit, -permit.tokens, _NOT_SENT))

    def answered(self, permit: Permit, headers: Mapping[str, str], *, clean: bool) -> None:
        """The response has begun: its headers correct the picture, a clean start lets others go.

        Never waits: what is to be told to Redis is told in the background.

        Args:
            permit: what was admitted.
            headers: of the response, names in lower case.
            clean: whether it is a stream, and no error.
        """
        sampled = self._reports.sample_is_due(permit.scope)
        readings = readings_of(headers) if sampled or not clean else {}
        if readings:
            self._share.learn(permit.scope, readings)
        held = self._held.get(permit.member)
        watched = clean and held is not None and held.unheard
        if held is not None and watched:
            held.unheard = False
        self._reports.add(permit, readings, watched=watched)

    async def release(
        self,
        permit: Permit,
        *,
        used_tokens: int | None = None,
        clean: bool = False,
        failure: Failure | None = None,
    ) -> None:
        """The attempt is over. Harmless where nothing is held.

        Args:
            permit: what was asked for, whether or not it was admitted.
            used_tokens: by the upstream's own count; None leaves the estimate.
            clean: whether it came to its proven end.
            failure: the upstream's error; neither for what ended by our own will.
        """
        held = self._held.pop(permit.member, None)
        if held is None or not held.reserved:
            return
        self._note(permit, clean=clean, failure=failure)
        unused = 0 if held.admitted else -permit.tokens
        correction = unused if used_tokens is None else used_tokens - permit.tokens
        outcome = Outcome(clean=clean, failure=failure, unheard=held.unheard)
        await self._ask_redis(lambda: self._ledger.release(permit, correction, outcome))
        self._notify(permit.scope)

    async def spend_retry(self, scope: Scope, cost: int) -> bool:
        """Take a retry's cost from the budget of the whole fleet; False where it is too low."""
        taken = await self._ask_redis(lambda: self._ledger.spend_retry(scope, cost))
        return self._share.spend_retry(cost) if taken is None else taken

    async def state(self, scope: Scope) -> State | None:
        """The scope as the fleet sees it; None while Redis is gone."""
        return await self._ask_redis(lambda: self._ledger.state(scope))

    def admitted(self) -> Sequence[Permit]:
        """The permits whose requests were let go and are not over; for any thread."""
        return [each.permit for each in list(self._held.values()) if each.admitted]

    @property
    def alone(self) -> bool:
        """Whether Redis is gone, and the process keeps to its own part."""
        return self._redis_gone

    async def renew(self) -> None:
        """Hold all permits for another lease, those that Redis has lost, too."""
        held = [each.permit for each in self._held.values() if each.reserved]

        async def renewed() -> int:
            processes = await self._ledger.beat(self._process, self._life_s)
            await self._ledger.renew(held, self._lease_s)
            return processes

        try:
            self._share.processes = await _answered(renewed)
        except (RedisError, OSError) as error:
            self._lose_redis(error)
            return
        if self._redis_gone:
            self._redis_gone = False
            logger.warning("Redis is back: limits are the whole fleet's again")
        # What was given back meanwhile may have been renewed after that.
        gone = [permit for permit in held if permit.member not in self._held]
        await self._ask_redis(lambda: self._ledger.forget(gone))

    @property
    def _life_s(self) -> float:
        """How long a process that is silent counts among the others."""
        return 3 * self._renew_s

    def _line(self, permit: Permit) -> Line:
        return self._lines.setdefault((permit.scope, permit.bulk), Line())

    async def _acquire(self, held: Held) -> Granted | NotNow:
        # Whoever is cancelled while the question is under way gives back what it may have got.
        held.reserved = True
        answer = await self._ask_redis(lambda: self._ledger.acquire(held.permit, self._lease_s))
        if answer is None:
            others = [h.permit for h in self._held.values() if h.reserved and h is not held]
            answer = self._share.acquire(held.permit, others)
        held.reserved = isinstance(answer, Granted)
        held.unheard = isinstance(answer, Granted) and answer.watched
        held.reason = answer.reason if isinstance(answer, NotNow) else held.reason
        limiting.asked(held.permit, None if held.reserved else held.reason, answer.wait_s)
        return answer

    async def _stands(self, scope: Scope, granted: Granted) -> bool:
        stands = await self._ask_redis(lambda: self._ledger.stands(scope, granted))
        return stands is None or stands

    async def _observe(self, permit: Permit, starts: int, readings: Readings) -> None:
        await self._ask_redis(lambda: self._ledger.observe(permit, starts, readings))
        self._notify(permit.scope)

    def _note(self, permit: Permit, *, clean: bool, failure: Failure | None) -> None:
        """Remember what this process needs to know should Redis go."""
        if clean:
            self._share.succeeded()
        cool_down = failure.cool_down if failure else None
        if failure and cool_down and cool_down.at_once:
            scope = permit.scope.of_key if cool_down.whole_key else permit.scope
            self._share.cool(scope, cool_down.wait_s(failure.retry_after_s))

    def _notify(self, scope: Scope) -> None:
        """Something of the account was freed: whoever of this process is first asks again."""
        for (waiting, _), line in list(self._lines.items()):
            if waiting.of_key == scope.of_key:
                line.notify()

    async def _ask_redis(self, question: Callable[[], Awaitable[T]]) -> T | None:
        """Its answer; None while Redis is gone."""
        if self._redis_gone:
            return None
        try:
            return await _answered(question)
        except (RedisError, OSError) as error:
            self._lose_redis(error)
            return None

    def _lose_redis(self, error: Exception) -> None:
        if not self._redis_gone:
            self._redis_gone = True
            logger.warning(
                "Redis is gone (%s): this process keeps to 1/%d of every limit until it is back",
                type(error).__name__,
                self._share.processes,
            )


async def _answered(question: Callable[[], Awaitable[T]]) -> T:
    """Redis' answer, if it comes in time.

    redis-py waits by asyncio.wait_for, which before Python 3.12 forgets a cancellation that
    comes together with the answer: here it is not forgotten.
    """
    task = asyncio.current_task()
    assert task is not None
    cancelled = task.cancelling()
    async with asyncio.timeout(ANSWER_S):
        answer = await question()
    if task.cancelling() > cancelled:
        raise asyncio.CancelledError
    return answer
