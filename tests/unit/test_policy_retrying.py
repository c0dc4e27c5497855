"""tenacity runs the policy: the job's columns bound it, and each wait is drawn once."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest
from tenacity import AsyncRetrying, RetryCallState

from worker.errors import Category, UpstreamError
from worker.policy import Fail, Policy, Retries, Retry, Suspend, Why


class Charges(msgspec.Struct):
    """The columns of a job that the policy reads."""

    lane: str = "interactive"
    failures: int = 0
    throttles: int = 0


class Draws:
    """Draws the upper bound, and keeps count."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _: float, high: float) -> float:
        self.count += 1
        return high


class Hold:
    """Attempts of a job under tenacity, as its execution makes them; the sleeps are noted."""

    def __init__(self, job: Charges, left_s: float = 3600.0) -> None:
        self.job, self.draws, self.slept = job, Draws(), list[float]()
        self.retries = Retries(Policy.packaged(), job, lambda: left_s, self.draws)

    async def run(self, attempt: Callable[[], Awaitable[str]]) -> str:
        attempts = AsyncRetrying(
            retry=self.retries.is_retried,
            stop=self.retries.is_over,
            wait=self.retries.wait_s,
            before_sleep=self._charge,
            sleep=self._sleep,
            reraise=True,
        )
        return await attempts(attempt)

    def _charge(self, state: RetryCallState) -> None:
        decision = self.retries.decision
        assert isinstance(decision, Retry)
        assert decision.wait_s == state.upcoming_sleep
        if decision.budget is not None:
            setattr(self.job, decision.budget, getattr(self.job, decision.budget) + 1)

    async def _sleep(self, wait_s: float) -> None:
        self.slept.append(wait_s)


def failing(*errors: Exception) -> Callable[[], Awaitable[str]]:
    """An attempt that fails by these errors, one after the other, and then succeeds."""
    left = list(errors)

    async def attempt() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return attempt


async def test_attempts_follow_until_one_succeeds_and_each_wait_is_drawn_once() -> None:
    hold = Hold(Charges())
    errors = [UpstreamError(Category.OVERLOADED), UpstreamError(Category.RATE_LIMIT)]
    assert await hold.run(failing(*errors)) == "done"
    assert hold.slept == [2.0, 1.0]
    assert hold.draws.count == 2
    assert (hold.job.failures, hold.job.throttles) == (1, 1)
    assert hold.retries.decision is None


async def test_a_job_goes_on_counting_where_another_process_left_it() -> None:
    hold = Hold(Charges(failures=4))
    errors = [UpstreamError(Category.SERVER), UpstreamError(Category.SERVER, "second")]
    with pytest.raises(UpstreamError) as raised:
        await hold.run(failing(*errors))
    assert raised.value.code == "second"
    assert hold.job.failures == 5
    assert isinstance(hold.retries.decision, Fail)
    assert hold.retries.decision.why is Why.BUDGET_SPENT


async def test_a_deadline_that_comes_first_leaves_the_upstreams_own_error() -> None:
    hold = Hold(Charges(), left_s=5.0)
    with pytest.raises(UpstreamError) as raised:
        await hold.run(failing(UpstreamError(Category.RATE_LIMIT, "slow", retry_after_s=10.0)))
    assert raised.value.code == "slow"
    assert hold.slept == []
    assert isinstance(hold.retries.decision, Fail)
    assert hold.retries.decision.why is Why.DEADLINE


async def test_a_suspension_is_left_to_who_holds_the_job() -> None:
    hold = Hold(Charges())
    with pytest.raises(UpstreamError):
        await hold.run(failing(UpstreamError(Category.BILLING)))
    assert isinstance(hold.retries.decision, Suspend)


async def test_what_is_no_error_of_an_upstream_is_not_decided_about() -> None:
    hold = Hold(Charges())
    with pytest.raises(ValueError, match="ours"):
        await hold.run(failing(UpstreamError(Category.CONFLICT), ValueError("ours")))
    assert hold.retries.decision is None
