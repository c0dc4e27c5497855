"""What a process allows itself while Redis is away: its part of every limit.

Coarser than what the fleet has together: no bursts, no slow starts, and cool-downs only for what
this process was told itself.
"""

import math
import time
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from worker.catalog import RateLimits
from worker.limiter.ledger import HORIZON_S, POLL_S, RETRY_BUDGET
from worker.limiter.questions import PACE
from worker.limiter.terms import Granted, NotNow, Permit, Readings, Reason, Scope

# How long a limit that headers told of is believed.
BELIEVED_S = 600.0


class ProcessShare:
    """The books of one process.

    Attributes:
        processes: how many there were when last heard of; each has the same part.
    """

    def __init__(self) -> None:
        self.processes = 1
        self._free_at: dict[tuple[Scope, str], float] = {}
        self._due: dict[Scope, float] = {}
        self._learned: dict[Scope, tuple[float, RateLimits]] = {}
        self._retries = RETRY_BUDGET

    def acquire(self, permit: Permit, others: Iterable[Permit]) -> Granted | NotNow:
        """Reserve a slot of the process's part; `others` are the permits that it holds."""
        now = time.monotonic()
        limits = ((permit.scope.of_key, permit.key_limits), (permit.scope, self._model(permit)))
        due = max(self._due.get(scope, now) for scope, _ in limits)
        if due > now:
            return NotNow(due - now, Reason.COOLING)
        if not self._has_streams(permit, list(others)):
            return NotNow(POLL_S, Reason.STREAMS)
        paces = [pace for scope, most in limits for pace in self._paces(scope, most, permit)]
        start = max((self._free_at.get(pace, now) for pace, _ in paces), default=now)
        horizon_s = HORIZON_S[permit.bulk]
        if start - now > horizon_s:
            return NotNow(start - now - horizon_s / 2, Reason.REQUESTS)
        for pace, takes_s in paces:
            self._free_at[pace] = max(now, self._free_at.get(pace, now)) + takes_s
        return Granted(max(0.0, start - now))

    def cool(self, scope: Scope, wait_s: float) -> None:
        """Leave the scope alone for so long; only ever extended."""
        due = time.monotonic() + wait_s
        self._due[scope] = max(self._due.get(scope, due), due)

    def learn(self, scope: Scope, readings: Readings) -> None:
        """Remember the limits that headers told of."""
        told = {f"{unit}_per_minute": r.limit for unit, r in readings.items() if r.limit > 0}
        if told:
            limits = msgspec.convert(told, RateLimits)
            self._learned[scope] = (time.monotonic() + BELIEVED_S, limits)

    def spend_retry(self, cost: int) -> bool:
        """Take a retry's cost from a budget of the process's own; False where it is too low."""
        enough = self._retries >= cost
        self._retries -= cost if enough else 0
        return enough

    def succeeded(self) -> None:
        """A clean success gives a little of the budget back."""
        self._retries = min(RETRY_BUDGET, self._retries + 1)

    def _model(self, permit: Permit) -> RateLimits:
        """The model's limits; what is not configured is as learned."""
        until, learned = self._learned.get(permit.scope, (0.0, permit.model_limits))
        if until < time.monotonic():
            return permit.model_limits
        limits = permit.model_limits
        return msgspec.structs.replace(
            limits,
            requests_per_minute=limits.requests_per_minute or learned.requests_per_minute,
            tokens_per_minute=limits.tokens_per_minute or learned.tokens_per_minute,
        )

    def _paces(
        self, scope: Scope, limits: RateLimits, permit: Permit
    ) -> Iterator[tuple[tuple[Scope, str], float]]:
        """What the request takes of each limit, in seconds of the process's part."""
        for unit, units, most in (
            ("requests", 1, limits.requests_per_minute),
            ("tokens", permit.tokens, limits.tokens_per_minute),
        ):
            if most:
                yield (scope, unit), units * 60 * self.processes / (most * PACE)

    def _has_streams(self, permit: Permit, others: Sequence[Permit]) -> bool:
        of_key = [other for other in others if other.scope.of_key == permit.scope.of_key]
        of_model = [other for other in of_key if other.scope == permit.scope]
        return all(
            most is None or len(held) < self._streams(most, permit)
            for most, held in (
                (permit.key_limits.max_streams, of_key),
                (permit.model_limits.max_streams, of_model),
            )
        )

    def _streams(self, most: int, permit: Permit) -> int:
        part = max(1, most // self.processes)
        reserve = math.ceil(permit.interactive_share * part) if permit.bulk else 0
        return part - min(reserve, part - 1)
