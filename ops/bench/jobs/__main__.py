"""Jobs/s and CPU a job with an upstream that answers one token at once, through each way in.

    python -m ops.bench.jobs              one run, about seven minutes
    python -m ops.bench.jobs --runs 5     five; how it grows with their number is in the first one
    python -m ops.bench.jobs --quick      fewer jobs: it shows that it works

Beside a job's cost stands the sum of its parts, measured in the same run. Each database has
processes of its own.
"""

import argparse
import sys
import time

import msgspec

from ops.bench.costs.scene import POSTGRESQL, SQLITE
from ops.bench.jobs import page
from ops.bench.jobs.measurement import Floor, Result, measure
from ops.bench.jobs.ways import PYTHON, ROWS, WAYS
from ops.bench.page import hand_in
from worker.sockets import allow_many_sockets

DATABASES = (SQLITE, POSTGRESQL)
CHOICES = {way.word or "rows": way for way in (*WAYS, ROWS)}


class Plan(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        jobs: of each way.
        sizes: how many of the first way, to see what grows.
    """

    jobs: int
    sizes: tuple[int, ...]


WHOLE = Plan(600, (500, 5_000))
QUICK = Plan(400, (100, 1_000))


def main() -> None:
    """Measure, print, and hand in."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else WHOLE
    ways = [CHOICES[word] for word in arguments.ways]
    sizes = plan.sizes if PYTHON in ways else ()
    allow_many_sockets()
    results, grown, floors = list[Result](), list[Result](), list[Floor]()
    for run in range(arguments.runs):
        for database in arguments.databases:
            begun = time.monotonic()
            for found in measure(database, ways, plan.jobs, () if run else sizes):
                sys.stdout.write(f"{time.monotonic() - begun:.0f} s: {found}\n")
                sys.stdout.flush()
                if isinstance(found, Floor):
                    floors.append(found)
                else:
                    (grown if found.parts is None else results).append(found)
    command = " ".join(["python -m ops.bench.jobs", *sys.argv[1:]])
    hand_in(page.report(results, grown, floors, command))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--ways", choices=list(CHOICES), nargs="+", default=list(CHOICES))
    parser.add_argument("--databases", choices=DATABASES, nargs="+", default=list(DATABASES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
