"""An upstream's limit, and what several worker processes make of it.

    python -m ops.bench.limits                       all, in about five minutes
    python -m ops.bench.limits --only limiter        one of them
    python -m ops.bench.limits --quick               fewer jobs: it shows that it works

- `limiter`, `cool-downs`, `alone`: the same load on an upstream that admits less than is asked for:
  with the limit known; unknown, all workers waiting where one is refused; and unknown, each job
  waiting by itself, as it would with a client library's retries.
- `lanes`: how soon interactive jobs start while bulk uses all of the limit.
- `models`: how long jobs of one model take beside jobs of another one that is always refused.
"""

import argparse
import sys
from collections.abc import Callable

import msgspec

from ops.bench.fleet import Limit
from ops.bench.limits import page
from ops.bench.limits.loads import Delays, Shared, lanes, models, shared
from ops.bench.page import hand_in
from worker.sockets import allow_many_sockets

# Below what four workers, SQLite and the simulator manage together on two cores: else these are
# the limit, and no upstream refuses anything.
PER_MINUTE, JOBS, QUICK_JOBS = 1500, 1000, 150
# A second's worth: with the minute's worth that a bucket holds at first nothing would be limited.
BURST_S = 1
SICK_JOBS = 300


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
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="fewer jobs")
    parser.add_argument("--only", choices=list(_loads(1, 1)), nargs="+", help="not all loads")
    return parser.parse_args()


def main() -> None:
    """Measure, print, and hand in."""
    arguments = _arguments()
    jobs = QUICK_JOBS if arguments.quick else arguments.jobs
    allow_many_sockets()
    loads = _loads(arguments.per_minute, jobs)
    found: list[Shared | Delays] = []
    for _ in range(arguments.runs):
        for name in arguments.only or loads:
            sys.stderr.write(f"{name} ...\n")
            found += loads[name]()
    command = " ".join(["python -m ops.bench.limits", *sys.argv[1:]])
    hand_in(page.report(found, arguments.runs, command))


if __name__ == "__main__":
    main()
