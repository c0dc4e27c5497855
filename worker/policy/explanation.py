"""What the policy makes of an error, in sentences for people and as a JSON object."""

import math

import msgspec

from worker.errors import UpstreamError
from worker.policy.decision import (
    Budgets,
    Decision,
    Fail,
    Retry,
    Suspend,
    Why,
    decide,
    named_wait_s,
    wait_range_s,
)
from worker.policy.row import Row
from worker.policy.table import Policy

_REASONS = {
    Why.NOT_RETRIED: "such errors are not retried",
    Why.TOLD_NOT_TO: "the upstream asks by x-should-retry not to try again",
    Why.BUDGET_SPENT: "it has been retried as often as it may",
    Why.DEADLINE: "the wait would reach past its deadline",
}
_SCOPES = {"model": "for this key and model", "key": "for this key, all models"}


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """An error, what happens after it, and why.

    Attributes:
        error: what was decided about.
        decision: for a job whose deadline is far away.
        wait_s: the bounds of the wait before a retry, in seconds; None where there is no retry.
        charged: what the row's budget was charged before; None where the row counts nothing.
        limit: how often it may be; None where nothing limits it.
        lane: the job's.
    """

    error: UpstreamError
    decision: Decision
    wait_s: tuple[float, float] | None
    charged: int | None
    limit: int | None
    lane: str

    @property
    def row(self) -> Row:
        """The row that decided."""
        return self.decision.row

    @property
    def cools_down(self) -> bool:
        """Whether such errors begin a cool-down. A suspension needs none."""
        return self.row.cool_down != "none" and not isinstance(self.decision, Suspend)

    def document(self) -> dict[str, object]:
        """The explanation as a JSON object."""
        error, decision = self.error, self.decision
        return {
            "category": error.category.value,
            "code": error.code,
            "status": error.status,
            "message": error.message,
            "retry_after_s": error.retry_after_s,
            "should_retry": error.should_retry,
            "decision": type(decision).__name__.lower(),
            "why": decision.why.value if isinstance(decision, Fail) else None,
            "wait_s": self.wait_s,
            "budget": decision.budget if isinstance(decision, Retry) else None,
            "charged": self.charged,
            "limit": self.limit,
            "budget_cost": self.row.budget_cost if isinstance(decision, Retry) else 0,
            "suspension": self._suspension(),
            "cool_down": self.row.cool_down if self.cools_down else None,
            "fallback": decision.fallback,
            "row": self.row.document(),
        }

    def sentences(self) -> list[str]:
        """The explanation, a line a thought."""
        said = [_error(self.error), *self._outcome()]
        if self.cools_down:
            said.append(self._cool_down())
        return [*said, self._fallback(), *_origins(self.row)]

    def _suspension(self) -> dict[str, object] | None:
        decision = self.decision
        if not isinstance(decision, Suspend):
            return None
        return {"scope": decision.scope, "for_s": decision.for_s}

    def _outcome(self) -> list[str]:
        match self.decision:
            case Retry(budget=budget):
                return [self._wait(), self._charge(budget)]
            case Suspend(for_s=for_s, scope=scope):
                return [_suspended_upstream(for_s, scope), _suspended_job(self.lane)]
            case Fail(why=why):
                return [f"The job fails with this error: {_REASONS[why]}{self._spent(why)}."]

    def _wait(self) -> str:
        assert self.wait_s is not None
        named = named_wait_s(self.error)
        reason = "the upstream named no wait" if named is None else f"it named {named:g} s"
        end = "If that reaches past its deadline, the job fails with this error."
        least_s, most_s = self.wait_s
        if most_s == 0:
            return f"The job is retried at once: {reason}."
        return f"The job is retried after {least_s:g} to {most_s:g} s: {reason}. {end}"

    def _charge(self, budget: str | None) -> str:
        cost = f"The retry takes {self.row.budget_cost} from the fleet's retry budget"
        if budget is None:
            return f"{cost}, and is charged to no budget of the job's."
        limit = "without limit" if self.limit is None else f"at most {self.limit}"
        return f"{cost}, and 1 from the job's {budget} ({self.charged} before, {limit})."

    def _spent(self, why: Why) -> str:
        if why is not Why.BUDGET_SPENT:
            return ""
        return f" ({self.row.counts}: {self.charged} before, at most {self.limit})"

    def _cool_down(self) -> str:
        row = self.row
        lasting = f"for {row.cool_down_least_s:g} to {row.cool_down_most_s:g} s"
        if named_wait_s(self.error) is not None:
            lasting = "until the wait is over that the upstream named"
        return f"Cool-down {_SCOPES[row.cool_down]} {_threshold(row)}, {lasting}."

    def _fallback(self) -> str:
        may = "may" if self.decision.fallback else "may not"
        return f"Another upstream that serves the model {may} take the job."


def explain(policy: Policy, error: UpstreamError, budgets: Budgets, lane: str) -> Explanation:
    """What would happen after an error, to a job whose deadline is far away."""
    decision = decide(policy, error, budgets, lane, math.inf, random=lambda least, _: least)
    row = decision.row
    waits = isinstance(decision, Retry)
    return Explanation(
        error=error,
        decision=decision,
        wait_s=wait_range_s(row, error, budgets) if waits else None,
        charged=budgets.charged(row),
        limit=row.limit(lane),
        lane=lane,
    )


def _error(error: UpstreamError) -> str:
    code = f"code {error.code}" if error.code else "no code"
    status = "no status" if error.status is None else f"status {error.status}"
    said = f": {error.message}" if error.message else ""
    return f"{error.category.value} ({code}, {status}){said}"


def _suspended_upstream(for_s: float | None, scope: str) -> str:
    if for_s is None:
        return "The upstream is suspended already, and stays so as long as it was to be."
    return f"The upstream is suspended {_SCOPES[scope]}: no job uses it for {for_s:g} s."


def _suspended_job(lane: str) -> str:
    if lane == "bulk":
        return "The job goes back to the queue, and is charged nothing."
    return "Without another upstream the job fails with this error."


def _threshold(row: Row) -> str:
    if (row.cool_down_errors, row.cool_down_calls, row.cool_down_share) == (1, 1, 0):
        return "from the first error on"
    plural = "s" if row.cool_down_errors > 1 else ""
    said = f"after {row.cool_down_errors} such error{plural} in {row.cool_down_within_s:g} s"
    if row.cool_down_calls > 1:
        said += f" out of at least {row.cool_down_calls} calls"
    if row.cool_down_share > 0:
        said += f", and in over {row.cool_down_share:.0%} of the calls"
    return said


def _origins(row: Row) -> list[str]:
    """The row's table, and the terms that are written elsewhere."""
    home = (row.origin.file, row.origin.table)
    said = [f"Row [{row.name}]: {row.origin}."]
    for field, source in row.sources.items():
        if (source.file, source.table) != home:
            value = getattr(row, field)
            said.append(f"{field} = {value}: [{'.'.join(source.table)}] of {source}.")
    return said
