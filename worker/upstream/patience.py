"""How long each phase of a stream may take; one lazy timer, nothing to do for each read."""

import asyncio
import math
from types import TracebackType

from msgspec import Struct

from worker.errors import Category, UpstreamError


class Limits(Struct, frozen=True):
    """Seconds for each phase; `left_s` is what the job's deadline leaves."""

    first_byte_s: float
    first_token_s: float
    token_gap_s: float
    attempt_s: float
    end_grace_s: float
    left_s: float


class Patience:
    """Raises `TimeoutError` inside its block when a phase takes too long.

        waiting for headers -> for the first token -> between tokens <-> for the end

    A token costs one assignment: the timer looks at it only when it goes off, and then sets
    itself anew.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._scope = asyncio.timeout(None)
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = math.inf
        self._began = self._loop.time()
        self._phase_began = self._began
        self._phase, self._allowed_s = "first_byte", limits.first_byte_s
        self.proven = False

    async def __aenter__(self) -> "Patience":
        await self._scope.__aenter__()
        self._look()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        await self._scope.__aexit__(kind, error, trace)

    def headers(self) -> None:
        """The response has begun."""
        self._enter("first_token", self._limits.first_token_s)

    def token(self) -> None:
        """Something that bears a token arrived."""
        if self._phase == "token_gap":
            self._phase_began = self._loop.time()
        elif not self.proven:
            self._enter("token_gap", self._limits.token_gap_s)

    def proof(self) -> None:
        """Another choice has ended, and with it all: what is still to come may take the grace, no
        longer.
        """
        self.proven = True
        self._enter("end", self._limits.end_grace_s)

    def doubt(self) -> None:
        """A choice that has not ended has begun after all others had ended: it gets its time."""
        if self.proven:
            self.proven = False
            self._enter("token_gap", self._limits.token_gap_s)

    def error(self) -> UpstreamError:
        """What to call the timeout that was raised."""
        now = self._loop.time()
        if now >= self._began + self._limits.left_s:
            return UpstreamError(Category.DEADLINE, "deadline", None, "the job's deadline passed")
        phase, allowed_s = self._phase, self._allowed_s
        if now >= self._began + self._limits.attempt_s:
            phase, allowed_s = "attempt", self._limits.attempt_s
        return UpstreamError(
            Category.TIMEOUT, f"{phase}_timeout", None, f"{phase} took more than {allowed_s:g} s"
        )

    def _enter(self, phase: str, allowed_s: float) -> None:
        self._phase, self._allowed_s = phase, allowed_s
        self._phase_began = self._loop.time()
        if self._due() < self._looks_at:  # else the timer finds out when it goes off
            self._look()

    def _due(self) -> float:
        whole_s = min(self._limits.attempt_s, self._limits.left_s)
        return min(self._phase_began + self._allowed_s, self._began + whole_s)

    def _look(self) -> None:
        """Raise where the time is up, else look again when it will be."""
        if self._timer is not None:
            self._timer.cancel()
        due = self._due()
        if due <= self._loop.time():
            self._scope.reschedule(due)
        else:
            self._looks_at = due
            self._timer = self._loop.call_at(due, self._look)
