"""What happens after an error: one decision, by the row of the policy and what the job has spent.

Pure: the random part is drawn by the caller's function, and the time left is an argument.
"""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from worker.errors import UpstreamError
from worker.policy.checks import OUR_OWN
from worker.policy.row import Action, Budget, Row, Scope
from worker.policy.table import Policy

Uniform = Callable[[float, float], float]
"""Draws between two bounds, both included, like `random.uniform`."""

# Spread for a wait that the upstream named: everyone was told the same.
SPREAD_SHARE, LONGEST_SPREAD_S = 0.2, 5.0
# The smallest base doubled so often lies above the largest cap; 2^n itself overflows a float.
MOST_DOUBLINGS = 32


class Budgets(msgspec.Struct, frozen=True):
    """What the job was charged before this error: its columns of these names."""

    failures: int
    throttles: int

    def charged(self, row: Row) -> int | None:
        """What the row's budget was charged; None where the row counts nothing."""
        return None if row.counts == "nothing" else getattr(self, row.counts)


class Why(StrEnum):
    """Why no further attempt is made."""

    NOT_RETRIED = "not_retried"  # by the row
    TOLD_NOT_TO = "told_not_to"  # by the upstream's x-should-retry
    BUDGET_SPENT = "budget_spent"
    DEADLINE = "deadline"  # the wait would reach past it


class Retry(msgspec.Struct, frozen=True):
    """Another attempt after `wait_s` seconds, charged to `budget` (None: to none)."""

    row: Row
    wait_s: float
    budget: Budget | None

    @property
    def fallback(self) -> bool:
        """Whether another upstream may take the job instead."""
        return self.row.fallback


class Suspend(msgspec.Struct, frozen=True):
    """No job may use this upstream's `scope` for `for_s` seconds. Nothing is charged.

    Without another upstream an interactive job fails with the upstream's own error; a bulk job
    goes back to the queue. `for_s` is None where a suspension stands already.
    """

    row: Row
    for_s: float | None
    scope: Scope

    @property
    def fallback(self) -> bool:
        """Whether another upstream may take the job."""
        return self.row.fallback


class Fail(msgspec.Struct, frozen=True):
    """The job fails, with the upstream's own error whatever `why` is."""

    row: Row
    why: Why

    @property
    def fallback(self) -> bool:
        """Whether another upstream may take the job: not one that has used up its budget."""
        return self.row.fallback and self.why is not Why.BUDGET_SPENT


Decision = Retry | Suspend | Fail


def decide(
    policy: Policy,
    error: UpstreamError,
    budgets: Budgets,
    lane: str,
    left_s: float,
    *,
    random: Uniform,
) -> Decision:
    """What happens after an error.

    Args:
        policy: the table.
        error: what ended the attempt.
        budgets: what the job was charged before.
        lane: the job's.
        left_s: seconds until the job's deadline.
        random: draws the random part of the wait; asked at most once.
    """
    row = policy.row_for(error)
    action = _action(row, error)
    if action == "fail":
        return Fail(row, Why.NOT_RETRIED if row.action == "fail" else Why.TOLD_NOT_TO)
    if action == "suspend":
        return Suspend(row, _suspension_s(row, error), _scope(row))
    if _is_spent(row, budgets, lane):
        return Fail(row, Why.BUDGET_SPENT)
    if (named_wait_s(error) or 0) > row.longest_wait_s:
        return Suspend(row, row.longest_wait_s, _scope(row))
    wait_s = random(*wait_range_s(row, error, budgets))
    if wait_s < left_s:
        return Retry(row, wait_s, None if row.counts == "nothing" else row.counts)
    return Fail(row, Why.DEADLINE)


def wait_range_s(row: Row, error: UpstreamError, budgets: Budgets) -> tuple[float, float]:
    """The bounds, in seconds, of the wait before the next attempt."""
    named = named_wait_s(error)
    if named is not None:
        return named, named + min(SPREAD_SHARE * named, LONGEST_SPREAD_S)
    charged = budgets.charged(row)
    if charged is None:
        return 0.0, row.cap_s
    if row.at_once and charged == 0:
        return 0.0, 0.0
    return 0.0, min(row.cap_s, row.base_s * 2 ** min(charged, MOST_DOUBLINGS))


def named_wait_s(error: UpstreamError) -> float | None:
    """Seconds that the upstream asked to wait; None where it asked for none that there can be."""
    asked = error.retry_after_s
    return asked if asked is not None and asked > 0 else None


def _action(row: Row, error: UpstreamError) -> Action:
    """`x-should-retry` knows better whether, but nothing of budgets and deadlines."""
    if error.should_retry is None or row.category in OUR_OWN:
        return row.action
    if error.should_retry:
        return "retry"
    return "fail" if row.action == "retry" else row.action


def _is_spent(row: Row, budgets: Budgets, lane: str) -> bool:
    limit, charged = row.limit(lane), budgets.charged(row)
    return limit is not None and charged is not None and charged >= limit


def _suspension_s(row: Row, error: UpstreamError) -> float | None:
    named = named_wait_s(error)
    if row.until_named and named is not None:
        return min(named, row.longest_wait_s)
    return row.suspend_s or None


def _scope(row: Row) -> Scope:
    """A row without a cool-down may still meet a wait that is too long: it was the model's."""
    return "model" if row.cool_down == "none" else row.cool_down
