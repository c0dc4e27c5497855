"""An upstream's limit, and what several worker processes make of it.

    python -m ops.bench.limits                       all, in about five minutes
    python -m ops.bench.limits --only limiter        one of them

- `limiter`, `cool-downs`, `alone`: the same load on an upstream that admits less than is asked for:
  with the limit known; unknown, all workers waiting where one is refused; and unknown, each job
  waiting by itself, as it would with a client library's retries.
- `lanes`: how soon interactive jobs start while bulk uses all of the limit.
- `models`: how long jobs of one model take beside jobs of another one that is always refused.
"""

import argparse
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from ops.bench.fleet import Fleet, Limit, Request
from ops.bench.processes import allow_many_sockets

OUT = Path(__file__).parent / "out"

# Below what four workers, SQLite and the simulator manage together on two cores: else these are
# the limit, and no upstream refuses anything.
PER_MINUTE, JOBS = 1500, 1000
# A second's worth: with the minute's worth that a bucket holds at first nothing would be limited.
BURST_S = 1
WORKERS = 4
SHORT = "sim?tokens=2&rate=0&ttft=0"
# Half a second of streaming.
HEALTHY = "sim?tokens=20&rate=40&ttft=0"
SICK = "sim?tokens=2&fault=status-429&wait=20&times=all"
# How long one load may take.
PATIENCE_S = 150.0
SICK_JOBS = 300
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
        name="interactive beside bulk: submit to first request",
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


def _table(found: Sequence[Shared]) -> list[str]:
    names = ["jobs", "requests", "refused", "share of the limit", "its middle", "seconds"]
    rows = ["| load | " + " | ".join(names) + " |", "|" + " --- |" * 7]
    for each in found:
        states = ", ".join(f"{count:,} {state}" for state, count in sorted(each.states.items()))
        cells = [each.name, states, f"{each.requests:,}"]
        cells += [f"{each.refused:,} ({each.refused_share:.1%})"]
        cells += [f"{each.share:.1%}", f"{each.middle:.1%}", f"{each.seconds:.0f}"]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _line(found: Delays) -> str:
    unfinished = f", {found.unfinished} unfinished" if found.unfinished else ""
    return (
        f"{found.name}: {len(found.seconds)} jobs{unfinished}, median {found.median:.2f} s, "
        f"max {found.seconds[-1]:.2f} s ({found.beside:,} {found.what} meanwhile)"
    )


def _loads(per_minute: int, jobs: int) -> dict[str, Callable[[], list[Shared | Delays]]]:
    limit = Limit(per_minute, per_minute * BURST_S // 60)
    unknown = msgspec.structs.replace(limit, known=False)
    alone = msgspec.structs.replace(unknown, cool_downs=False)
    return {
        "limiter": lambda: [shared("limiter", limit, jobs)],
        "cool-downs": lambda: [shared("cool-downs", unknown, jobs)],
        "alone": lambda: [shared("alone", alone, jobs)],
        "lanes": lambda: [lanes(limit, jobs)],
        "models": lambda: [models(0), models(SICK_JOBS)],
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--per-minute", type=int, default=PER_MINUTE)
    parser.add_argument("--jobs", type=int, default=JOBS)
    parser.add_argument("--only", choices=list(_loads(1, 1)), nargs="+", help="not all loads")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and keep what was found."""
    arguments = _arguments()
    allow_many_sockets()
    loads = _loads(arguments.per_minute, arguments.jobs)
    found: list[Shared | Delays] = []
    for name in arguments.only or loads:
        sys.stderr.write(f"{name} ...\n")
        found += loads[name]()
    tables = _table([each for each in found if isinstance(each, Shared)])
    lines = [_line(each) for each in found if isinstance(each, Delays)]
    sys.stdout.write("\n".join([*tables, "", *lines, ""]))
    OUT.mkdir(exist_ok=True)
    document = {"command": sys.argv[1:], "cores": os.cpu_count(), "results": found}
    file = OUT / time.strftime("limits-%Y%m%d-%H%M%S.json")
    file.write_bytes(msgspec.json.format(msgspec.json.encode(document)))


if __name__ == "__main__":
    main()
