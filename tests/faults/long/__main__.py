"""`python -m tests.faults.long`: all of it, in about half an hour; see the options for parts."""

import argparse
import asyncio
import secrets
import sys
from collections.abc import Callable

from tests.faults.long import ours, report, rows
from tests.faults.long.found import Found, tell
from tests.faults.long.late_ack import late_ack

LOADS: dict[str, tuple[int, Callable[[int, int], Found]]] = {
    "kills": (12_000, lambda jobs, seed: asyncio.run(ours.kills(jobs, seed))),
    "crashes": (5_000, lambda jobs, seed: asyncio.run(ours.crashes(jobs, seed))),
    "batch": (20_000, lambda jobs, seed: asyncio.run(rows.batch(jobs, seed))),
    "late-ack": (12_000, late_ack),
}


def main() -> int:
    """Run the loads, print the table; 1 where an invariant does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(LOADS), nargs="+", help="not all loads")
    parser.add_argument("--jobs", type=int, help="instead of each load's own number")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000))
    parser.add_argument("--publish", action="store_true", help="write ops/bench/RESULTS-faults.md")
    arguments = parser.parse_args()
    found: list[Found] = []
    for name in arguments.only or LOADS:
        jobs, load = LOADS[name]
        tell(f"{name} (seed {arguments.seed}) ...")
        found.append(load(arguments.jobs or jobs, arguments.seed))
        last = found[-1:]
        sys.stdout.write("\n".join([*report.table(last), *report.violations(last), ""]))
        sys.stdout.flush()
    sys.stdout.write("\n".join([*report.table(found), "", *report.violations(found), ""]))
    if arguments.publish:
        report.publish(found)
    return int(any(each.violations for each in found))


if __name__ == "__main__":
    sys.exit(main())
