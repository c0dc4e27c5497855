"""One error, one decision: retry after a wait, suspend the upstream, or fail the job."""

import math

import pytest

from worker.errors import Category, UpstreamError
from worker.policy import Budgets, Decision, Fail, Policy, Retry, Suspend, Why, decide
from worker.policy.table import parse

PACKAGED = Policy.packaged()
FRESH = Budgets(failures=0, throttles=0)


def most(_: float, high: float) -> float:
    return high


def least(low: float, _: float) -> float:
    return low


def after(
    error: UpstreamError,
    budgets: Budgets = FRESH,
    lane: str = "interactive",
    left_s: float = math.inf,
    policy: Policy = PACKAGED,
) -> Decision:
    return decide(policy, error, budgets, lane, left_s, random=most)


def longest_wait_s(error: UpstreamError, budgets: Budgets = FRESH) -> float:
    decision = after(error, budgets)
    assert isinstance(decision, Retry)
    return decision.wait_s


def why(decision: Decision) -> Why | None:
    return decision.why if isinstance(decision, Fail) else None


def test_the_wait_doubles_with_every_failure_up_to_the_cap() -> None:
    error = UpstreamError(Category.OVERLOADED)
    waits = [longest_wait_s(error, Budgets(failures, 0)) for failures in range(5)]
    assert waits == [2, 4, 8, 16, 32]
    late = UpstreamError(Category.CONFLICT)
    assert longest_wait_s(late, Budgets(4, 0)) == 8


def test_a_rate_limit_waits_by_its_own_count() -> None:
    assert longest_wait_s(UpstreamError(Category.RATE_LIMIT), Budgets(4, 1)) == 2


def test_full_jitter_begins_at_nothing() -> None:
    error = UpstreamError(Category.OVERLOADED)
    decision = decide(PACKAGED, error, FRESH, "bulk", 1.0, random=least)
    assert isinstance(decision, Retry)
    assert decision.wait_s == 0


@pytest.mark.parametrize(("named_s", "longest_s"), [(10.0, 12.0), (20.0, 24.0), (600.0, 605.0)])
def test_a_wait_that_the_upstream_named_is_spread_upwards(named_s: float, longest_s: float) -> None:
    error = UpstreamError(Category.SERVER, retry_after_s=named_s)
    assert longest_wait_s(error) == pytest.approx(longest_s)
    decision = decide(PACKAGED, error, FRESH, "bulk", math.inf, random=least)
    assert isinstance(decision, Retry)
    assert decision.wait_s == named_s


def test_the_first_failure_of_a_connection_is_retried_at_once() -> None:
    error = UpstreamError(Category.CONNECTION)
    assert longest_wait_s(error) == 0
    assert longest_wait_s(error, Budgets(1, 0)) == 0.5


def test_a_rate_limit_is_charged_to_throttles_and_never_to_failures() -> None:
    for named_s in (None, 3.0):
        error = UpstreamError(Category.RATE_LIMIT, retry_after_s=named_s)
        decision = after(error, Budgets(failures=99, throttles=19))
        assert isinstance(decision, Retry)
        assert decision.budget == "throttles"


@pytest.mark.parametrize(
    ("category", "limit"),
    [(Category.SERVER, 5), (Category.TIMEOUT, 5), (Category.TRUNCATED, 3), (Category.UNKNOWN, 2)],
)
@pytest.mark.parametrize("lane", ["interactive", "bulk"])
def test_failures_are_retried_as_often_as_their_row_allows(
    category: Category, limit: int, lane: str
) -> None:
    error = UpstreamError(category)
    assert isinstance(after(error, Budgets(limit - 1, 99), lane), Retry)
    assert why(after(error, Budgets(limit, 0), lane)) is Why.BUDGET_SPENT


def test_throttles_are_limited_for_interactive_jobs_only() -> None:
    error = UpstreamError(Category.RATE_LIMIT)
    assert isinstance(after(error, Budgets(0, 19)), Retry)
    assert why(after(error, Budgets(0, 20))) is Why.BUDGET_SPENT
    assert isinstance(after(error, Budgets(0, 100_000), "bulk"), Retry)


def test_a_wait_that_would_reach_the_deadline_fails_the_job() -> None:
    error = UpstreamError(Category.RATE_LIMIT, retry_after_s=10.0)
    assert isinstance(after(error, left_s=12.1), Retry)
    assert why(after(error, left_s=12.0)) is Why.DEADLINE
    assert why(after(error, left_s=-1.0)) is Why.DEADLINE


@pytest.mark.parametrize("category", [Category.BILLING, Category.AUTH])
def test_a_key_that_is_refused_is_suspended_for_a_quarter_of_an_hour(category: Category) -> None:
    decision = after(UpstreamError(category, retry_after_s=5.0), Budgets(99, 99), left_s=0)
    assert isinstance(decision, Suspend)
    assert (decision.for_s, decision.scope) == (900, "key")


@pytest.mark.parametrize(
    ("named_s", "for_s"), [(None, 3_600), (60.0, 60.0), (51_820.6, 51_820.6), (4e6, 2_678_400)]
)
def test_a_spent_quota_suspends_its_model_until_the_time_named(
    named_s: float | None, for_s: float
) -> None:
    decision = after(UpstreamError(Category.QUOTA_PERIOD, retry_after_s=named_s))
    assert isinstance(decision, Suspend)
    assert (decision.for_s, decision.scope) == (for_s, "model")


def test_an_upstream_that_is_suspended_already_is_suspended_no_longer() -> None:
    decision = after(UpstreamError(Category.SUSPENDED))
    assert isinstance(decision, Suspend)
    assert decision.for_s is None


@pytest.mark.parametrize(
    ("category", "scope"), [(Category.RATE_LIMIT, "model"), (Category.CONFLICT, "model")]
)
def test_nobody_waits_for_longer_than_a_day_the_upstream_is_suspended(
    category: Category, scope: str
) -> None:
    assert isinstance(after(UpstreamError(category, retry_after_s=86_400.0)), Retry)
    decision = after(UpstreamError(category, retry_after_s=86_401.0))
    assert isinstance(decision, Suspend)
    assert (decision.for_s, decision.scope) == (86_400, scope)


def test_x_should_retry_has_an_error_retried_that_its_row_would_fail() -> None:
    error = UpstreamError(Category.BAD_REQUEST, should_retry=True)
    decision = after(error)
    assert isinstance(decision, Retry)
    assert decision.budget == "failures"


def test_x_should_retry_keeps_an_error_from_being_retried() -> None:
    error = UpstreamError(Category.SERVER, should_retry=False)
    assert why(after(error)) is Why.TOLD_NOT_TO
    assert why(after(UpstreamError(Category.NOT_FOUND, should_retry=False))) is Why.NOT_RETRIED
    assert isinstance(after(UpstreamError(Category.BILLING, should_retry=False)), Suspend)


def test_x_should_retry_overrides_neither_budget_nor_deadline_nor_the_longest_wait() -> None:
    error = UpstreamError(Category.SERVER, should_retry=True, retry_after_s=10.0)
    assert why(after(error, Budgets(5, 0))) is Why.BUDGET_SPENT
    assert why(after(error, left_s=1.0)) is Why.DEADLINE
    late = UpstreamError(Category.SERVER, should_retry=True, retry_after_s=1e6)
    assert isinstance(after(late), Suspend)


@pytest.mark.parametrize("category", [Category.DEADLINE, Category.POISON, Category.INTERNAL])
def test_an_end_of_our_own_is_final_whatever_a_header_says(category: Category) -> None:
    assert why(after(UpstreamError(category, should_retry=True))) is Why.NOT_RETRIED


def test_a_row_that_counts_nothing_waits_up_to_its_cap() -> None:
    policy = parse('[server]\ncounts = "nothing"\n', "mine.toml")
    decision = after(UpstreamError(Category.SERVER), Budgets(99, 99), policy=policy)
    assert isinstance(decision, Retry)
    assert (decision.wait_s, decision.budget) == (20.0, None)


def test_another_upstream_may_help_but_not_with_a_request_that_is_refused_for_what_it_says() -> (
    None
):
    may = {category for category in Category if after(UpstreamError(category)).fallback}
    assert may == {
        Category.OVERLOADED,
        Category.SERVER,
        Category.CONNECTION,
        Category.TIMEOUT,
        Category.BILLING,
        Category.AUTH,
        Category.QUOTA_PERIOD,
        Category.SUSPENDED,
    }


def test_another_upstream_is_no_way_around_the_budget_but_around_a_long_wait() -> None:
    error = UpstreamError(Category.SERVER, retry_after_s=60.0)
    assert after(error, left_s=1.0).fallback
    assert not after(error, Budgets(5, 0)).fallback
