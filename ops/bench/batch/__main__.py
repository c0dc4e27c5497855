"""Batches: files read in, rows from end to end, dispatch, and what they do to interactive jobs.

    python -m ops.bench.batch               one run, about ten minutes
    python -m ops.bench.batch --runs 5      five; the long ones in the first only
    python -m ops.bench.batch --quick       fewer rows: it shows that it works

Each measurement has processes of its own.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from ops.bench.batch import beside, capped, held, page, pipeline
from ops.bench.batch.page import Found
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import POSTGRESQL, SQLITE
from ops.bench.page import hand_in
from worker.sockets import allow_many_sockets

DATABASES = (SQLITE, POSTGRESQL)
KINDS = ("held", "pipeline", "beside", "capped")


class Plan(msgspec.Struct, frozen=True):
    """How much is measured.

    Attributes:
        rows: of the batch that runs to its end.
        held: rows that are read in, in files of these sizes.
        log_life_s: how long Redis keeps the log of a row that has ended.
        jobs: interactive ones, alone and beside a batch.
        slow: whether they are measured beside rows that keep their slots as well.
    """

    rows: int
    held: tuple[int, ...]
    log_life_s: float
    jobs: int
    slow: bool


WHOLE = Plan(5_000, (10_000, 100_000, 1_000_000), 20.0, 25, slow=True)
QUICK = Plan(500, (1_000, 10_000), 2.0, 5, slow=False)


def main() -> None:
    """Measure, print, and hand in."""
    arguments = _arguments()
    plan = QUICK if arguments.quick else WHOLE
    if arguments.rows:
        plan = msgspec.structs.replace(plan, rows=arguments.rows)
    allow_many_sockets()
    found = Found()
    for _ in range(arguments.runs):
        for database in arguments.databases:
            _measure(found, plan, database, arguments.only)
        # What takes minutes, and differs little from run to run, comes once.
        plan = msgspec.structs.replace(plan, held=(), slow=False)
    command = " ".join(["python -m ops.bench.batch", *sys.argv[1:]])
    hand_in(page.report(found, arguments.runs, command))


def _measure(found: Found, plan: Plan, database: str, only: Sequence[str]) -> None:
    """All that was asked for, on one database."""
    if "pipeline" in only:
        _add(found.pipeline, lambda: pipeline.measure(database, plan.rows, plan.log_life_s))
    for size in plan.held if "held" in only else ():
        _add(found.held, lambda size=size: held.measure(database, size))  # type: ignore[misc]
    if "beside" in only:
        _add(found.beside, lambda: beside.measure(database, "rows at once", EMPTY, plan.jobs))
    if "beside" in only and plan.slow:
        name = "rows of two seconds"
        _add(found.beside, lambda: beside.measure(database, name, beside.SLOW, plan.jobs))
    if "capped" in only:
        _add(found.capped, lambda: capped.measure(database))


def _add(results: list[page.Result], measure: Callable[[], page.Result]) -> None:
    begun = time.monotonic()
    results.append(measure())
    sys.stdout.write(f"{time.monotonic() - begun:.0f} s: {results[-1]}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--rows", type=int, help=f"of the whole pipeline; else {WHOLE.rows:,}")
    parser.add_argument("--quick", action="store_true", help="less of everything, in a minute")
    parser.add_argument("--only", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--databases", choices=DATABASES, nargs="+", default=list(DATABASES))
    return parser.parse_args()


if __name__ == "__main__":
    main()
