"""The loads, and what became of each."""

import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence

import msgspec

from ops.bench.fleet import Fleet, Limit, Request

WORKERS = 4
SHORT = "sim?tokens=2&rate=0&ttft=0"
# Half a second of streaming.
HEALTHY = "sim?tokens=20&rate=40&ttft=0"
SICK = "sim?tokens=2&fault=status-429&wait=20&times=all"
INTERACTIVE = "interactive beside bulk: submit to first request"
# How long one load may take.
PATIENCE_S = 150.0
# How long workers are left to take what waited for them.
SATURATING_S = 4.0


class Shared(msgspec.Struct, frozen=True):
    """What became of a load on a limited upstream.

    Attributes:
        states: how many jobs ended in, or still are in, each state.
        requests, refused: how many the upstream saw, and how many of them it refused.
        share: of the limit that was used, from the moment at which the initial burst was spent to
            the last request that was served.
        middle: the same for the tenth to the ninetieth percent of what was served.
        seconds: from the first request to the last end.
    """

    name: str
    limit: Limit
    states: dict[str, int]
    requests: int
    refused: int
    share: float
    middle: float
    seconds: float

    @property
    def refused_share(self) -> float:
        """Of the requests."""
        return self.refused / max(self.requests, 1)


class Delays(msgspec.Struct, frozen=True):
    """Seconds from submit to the first request, or to the end: each job's, in order.

    Attributes:
        beside, what: what else was done meanwhile, and how often.
    """

    name: str
    seconds: list[float]
    unfinished: int
    beside: int
    what: str

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def shared(name: str, limit: Limit, jobs: int) -> Shared:
    """So many interactive jobs that all wait when the workers start."""
    with Fleet(limit) as fleet:
        ids = fleet.submit(jobs, SHORT, "interactive")
        fleet.work(WORKERS)
        found = fleet.await_end(ids, PATIENCE_S)
        requests = fleet.requests()
    served = _served(requests)
    after = served[limit.burst :]
    tenth = len(served) // 10
    ends = [job.finished_at for job in found if job.finished_at is not None]
    starts = [job.requested_at for job in found if job.requested_at is not None]
    return Shared(
        name=name,
        limit=limit,
        states=dict(Counter(job.state for job in found)),
        requests=len(requests),
        refused=sum(request.status == 429 for request in requests),
        share=_share(after, limit),
        middle=_share(served[tenth:-tenth], limit),
        seconds=round(max(ends, default=0) - min(starts, default=0), 1),
    )


def lanes(limit: Limit, jobs: int) -> Delays:
    """Interactive jobs, one every half a second, into a bulk load that uses all of the limit."""
    with Fleet(limit) as fleet:
        fleet.submit(jobs, SHORT, "bulk")
        fleet.work(WORKERS)
        time.sleep(SATURATING_S)
        ids = fleet.submit(20, SHORT, "interactive", 0.5)
        found = fleet.await_end(ids, 30)
        others = [job for job in fleet.jobs() if job.id not in ids]
    first, last = found[0].submitted_at, found[-1].submitted_at
    return Delays(
        name=INTERACTIVE,
        seconds=_sorted(job.requested_at - job.submitted_at for job in found if job.requested_at),
        unfinished=sum(job.finished_at is None for job in found),
        beside=sum(first < (job.requested_at or 0) < last for job in others),
        what="bulk jobs started",
    )


def models(sick: int) -> Delays:
    """Jobs of a healthy model on one worker, after so many of a model that is always refused."""
    with Fleet(Limit()) as fleet:
        if sick:
            fleet.submit(sick, SICK, "interactive")
        fleet.work(1)
        time.sleep(SATURATING_S)
        ids = fleet.submit(50, HEALTHY, "interactive")
        found = fleet.await_end(ids, 60)
        refused = sum(request.status == 429 for request in fleet.requests())
    return Delays(
        name=f"healthy beside {sick} sick: submit to end",
        seconds=_sorted(job.finished_at - job.submitted_at for job in found if job.finished_at),
        unfinished=sum(job.finished_at is None for job in found),
        beside=refused,
        what="requests refused",
    )


def _served(requests: Sequence[Request]) -> list[int]:
    return [each.head_ns for each in requests if each.status == 200 and each.head_ns]


def _share(served: Sequence[int], limit: Limit) -> float:
    if len(served) < 2:
        return 0.0
    per_minute = (len(served) - 1) / (served[-1] - served[0]) * 60e9
    return round(per_minute / limit.per_minute, 3)


def _sorted(seconds: Iterable[float]) -> list[float]:
    return sorted(round(each, 3) for each in seconds)
