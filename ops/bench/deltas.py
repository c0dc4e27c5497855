"""CPU per delta, and the latency added to it: Deltaworks beside the plain Celery recipe.

    python -m ops.bench.deltas                       one run of all systems, 200 and 1,000 streams
    python -m ops.bench.deltas --runs 5 --publish    five runs, written to ops/bench/RESULTS.md

Each measurement has processes of its own: a Redis, the simulator, the system. When all streams
are open it takes, over a window, the CPU time (user and system) of the system's process and
divides it by the deltas the simulator wrote in that window, or by those that were published
where these are fewer. The simulator writes each delta on its own, so merging earns nothing.
"""

import argparse
import sys
import time
from pathlib import Path

import msgspec

from ops.bench import report
from ops.bench.machine import machine
from ops.bench.measurement import Result, measure
from ops.bench.processes import allow_many_sockets
from ops.bench.systems import Deltaworks, Floor, Recipe, System

HERE = Path(__file__).parent


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--window", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--only", choices=list(_systems()), nargs="+", help="not all systems")
    parser.add_argument("--publish", action="store_true", help="write ops/bench/RESULTS.md")
    return parser.parse_args()


def _systems() -> dict[str, System]:
    systems: list[System] = [Deltaworks(), Recipe("threads"), Recipe("gevent"), Floor()]
    return {system.name.replace(",", "").replace(" ", "-"): system for system in systems}


def main() -> None:
    """Measure, print, and keep what was found."""
    arguments = _arguments()
    allow_many_sockets()
    chosen = _systems()
    systems = [chosen[name] for name in arguments.only or chosen]
    results: list[Result] = []
    for _ in range(arguments.runs):
        for streams in arguments.streams:
            for system in systems:
                result = measure(system, streams, arguments.window)
                sys.stdout.write(report.line(result) + "\n")
                sys.stdout.flush()
                results.append(result)
    known = machine(report.PACKAGES, "celery", report.PEER_PACKAGES)
    page = report.page(results, known)
    sys.stdout.write("\n" + page)
    _keep(results, known)
    if arguments.publish:
        (HERE / "RESULTS.md").write_text(page)


def _keep(results: list[Result], known: dict[str, str]) -> None:
    folder = HERE / "out"
    folder.mkdir(exist_ok=True)
    found = {"machine": known, "command": sys.argv[1:], "results": results}
    name = time.strftime("deltas-%Y%m%d-%H%M%S.json")
    (folder / name).write_bytes(msgspec.json.format(msgspec.json.encode(found)))


if __name__ == "__main__":
    main()
