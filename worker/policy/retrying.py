"""The policy's decisions as callables for tenacity.

They read the job's own columns, never tenacity's counter: a job goes on where another process
left it.
"""

import random
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from tenacity import RetryCallState

from worker.errors import UpstreamError
from worker.policy.decision import Budgets, Decision, Fail, Retry, Uniform, Why, decide
from worker.policy.table import Policy

# What another attempt could have cured, had the job not run out of something.
_EXHAUSTED = frozenset({Why.BUDGET_SPENT, Why.DEADLINE})


class Charged(Protocol):
    """What is read of a job, at the end of each attempt."""

    lane: str
    failures: int
    throttles: int


class Retries:
    """One hold of a job, for tenacity: `retry=is_retried`, `stop=is_over`, `wait=wait_s`.

    tenacity asks all three after an attempt. They answer by one decision, which stays in
    `decision` for whoever records it; None while no attempt has ended by an upstream's error.

    Args:
        policy: the table.
        job: its columns are those before the error until the caller charges it.
        left_s: seconds until the job's deadline, asked after each attempt.
        draw: draws the random part of a wait.
    """

    def __init__(
        self,
        policy: Policy,
        job: Charged,
        left_s: Callable[[], float],
        draw: Uniform = random.uniform,
    ) -> None:
        self.decision: Decision | None = None
        self._policy = policy
        self._job = job
        self._left_s = left_s
        self._draw = draw
        self._decided: Future[Any] | None = None

    def is_retried(self, state: RetryCallState) -> bool:
        """Whether another attempt could cure the error."""
        match self._decision(state):
            case Retry():
                return True
            case Fail(why=why):
                return why in _EXHAUSTED
            case _:
                return False

    def is_over(self, state: RetryCallState) -> bool:
        """Whether there is none left, or no time for it."""
        return not isinstance(self._decision(state), Retry)

    def wait_s(self, state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        decision = self._decision(state)
        return decision.wait_s if isinstance(decision, Retry) else 0.0

    def _decision(self, state: RetryCallState) -> Decision | None:
        """Made once for each outcome: the wait must not be drawn again."""
        if state.outcome is not self._decided:
            error = failure(state)
            self.decision = None if error is None else self._decide(error)
            self._decided = state.outcome
        return self.decision

    def _decide(self, error: UpstreamError) -> Decision:
        job = self._job
        budgets = Budgets(job.failures, job.throttles)
        return decide(self._policy, error, budgets, job.lane, self._left_s(), random=self._draw)


def failure(state: RetryCallState) -> UpstreamError | None:
    """The upstream's error that ended the attempt; None where it ended otherwise."""
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, UpstreamError) else None
