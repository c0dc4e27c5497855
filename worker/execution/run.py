"""One hold of a job on its way through its attempts."""

from datetime import UTC, datetime
from functools import partial

from tenacity import RetryCallState

from models import Job
from worker.catalog import Upstream
from worker.channel.feed import Feed
from worker.costs import spent_on
from worker.leases import Hold
from worker.policy import Policy, Retries, Suspend
from worker.routing import Course
from worker.upstream import Exchange


class Run:
    """The hold, and the current attempt's upstream, exchange and feed, once there are any."""

    def __init__(self, hold: Hold, course: Course, policy: Policy) -> None:
        self.hold = hold
        self.course = course
        self.retries = Retries(policy, hold.job, partial(_left_s, hold.job))
        self.upstream: Upstream | None = None
        self.exchange: Exchange | None = None
        self.feed: Feed | None = None

    @property
    def job(self) -> Job:
        """The job; its `attempt` is the current one."""
        return self.hold.job

    def left_s(self) -> float:
        """Seconds until the job's deadline."""
        return _left_s(self.job)

    def spent(self) -> float | None:
        """What the current attempt has cost so far (see `costs`)."""
        return spent_on(self.exchange, self.job.model)

    def begin(self) -> None:
        """Begin an attempt: it has no upstream yet, and nothing was sent."""
        self.upstream = self.exchange = self.feed = None

    # For tenacity: by the policy, and at once by another upstream where there is one.

    def is_retried(self, state: RetryCallState) -> bool:
        """Whether another attempt could help."""
        return self.retries.is_retried(state) or self.falls_back(state)

    def is_over(self, state: RetryCallState) -> bool:
        """Whether there is none left."""
        return self.retries.is_over(state) and not self.falls_back(state)

    def wait_s(self, state: RetryCallState) -> float:
        """Seconds until the next attempt."""
        return 0.0 if self.falls_back(state) else self.retries.wait_s(state)

    def falls_back(self, state: RetryCallState) -> bool:
        """Whether the next attempt is another upstream's."""
        self.retries.is_retried(state)  # the decision on this outcome
        decision = self.retries.decision
        if decision is None or not decision.fallback or self.upstream is None:
            return False
        refusing = isinstance(decision, Suspend)
        return self.left_s() > 0 and self.course.turn_from(self.upstream, refusing=refusing)


def _left_s(job: Job) -> float:
    return (job.deadline_at - datetime.now(UTC)).total_seconds()
