"""CPU per delta, and deltas a second: Deltaworks beside everything else that reads streams.

    python -m ops.bench.deltas             one run of all systems, kept for ops/bench/RESULTS.md
    python -m ops.bench.deltas --runs 5    five; of more than 1,000 streams the first one only
    python -m ops.bench.deltas --quick     whether it works: no numbers to quote

Each measurement has processes of its own: a Redis, the simulator, the system, which has one core
for itself. When all streams are open it takes, over a window, the CPU time (user and system) of
the system's process, children included, and divides it by the deltas the simulator wrote in that
window, or by those that were published where these are fewer. The simulator writes each delta on
its own, so merging earns nothing. Streams become more until a system is saturated.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import httpx

from ops.bench.deltas import page
from ops.bench.deltas.alternatives import Proxy, Raw, Recipe, Sdk
from ops.bench.deltas.measurement import Load, Result, measure
from ops.bench.systems import Deltaworks, System
from worker.sockets import allow_many_sockets

# Deltas a second in each stream.
RATE = 50.0
STREAMS = (50, 200, 1000, 2000, 4000)
# Between those that it carries and those that it does not, what it sustains is to be found.
FINER = (1200, 1400, 1600)
# More than these only show where a system is saturated, and take minutes: once is enough.
EACH_RUN = 1000
# As many deltas a second as 200 streams of 50.
SLOW = Load(4000, 2.5)
WINDOW_S = 5.0
QUICK_STREAMS, QUICK_WINDOW_S = (20, 50), 2.0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--streams", type=int, nargs="+", help="instead of those of the issue")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--window", type=float, metavar="SECONDS")
    parser.add_argument("--only", choices=list(_systems()), nargs="+", help="not all systems")
    parser.add_argument("--quick", action="store_true", help="few streams, short windows")
    return parser.parse_args()


def _systems() -> dict[str, System]:
    systems: list[System] = [Deltaworks(), Raw("asyncio"), Raw("uvloop"), Sdk()]
    systems += [Recipe(pool) for pool in ("threads", "gevent", "prefork")] + [Proxy()]
    return {system.name.replace(",", "").replace(" ", "-"): system for system in systems}


def _loads(system: System, number: int, arguments: argparse.Namespace) -> list[Load]:
    """What the system is to carry in the run of that number, rising."""
    if arguments.streams:
        streams: Sequence[int] = arguments.streams
    elif arguments.quick:
        streams = QUICK_STREAMS
    else:
        streams = sorted({*STREAMS, *(FINER if isinstance(system, Deltaworks) else ())})
        streams = [each for each in streams if number == 0 or each <= EACH_RUN]
    return [Load(number, RATE) for number in streams]


def _run(system: System, number: int, arguments: argparse.Namespace) -> Iterator[Result]:
    """One system, until it is saturated or cannot open all; and ours with many slow streams."""
    ours = isinstance(system, Deltaworks)
    for load in _loads(system, number, arguments):
        result = _measured(system, load, number, arguments)
        if result is None:
            break
        yield result
        # Ours opens them all, if late where the machine is busy with something else.
        if result.saturated or (result.opened < load.streams and not ours):
            break
    if ours and number == 0 and not (arguments.quick or arguments.streams):
        slow = _measured(system, SLOW, number, arguments)
        if slow is not None:
            yield slow


def _measured(
    system: System, load: Load, number: int, arguments: argparse.Namespace
) -> Result | None:
    """One measurement, printed; None, and why, where nothing came of it."""
    window_s = arguments.window or (QUICK_WINDOW_S if arguments.quick else WINDOW_S)
    try:
        result = measure(system, load, window_s, number)
    except (RuntimeError, httpx.HTTPError) as error:
        sys.stdout.write(f"{system.name}, {load.streams:,} streams: {error}\n")
        return None
    sys.stdout.write(page.line(result) + "\n")
    sys.stdout.flush()
    return result


def main() -> None:
    """Measure, print, and keep what was found."""
    arguments = _arguments()
    allow_many_sockets()
    chosen = _systems()
    results: list[Result] = []
    for number in range(arguments.runs):
        for name in arguments.only or chosen:
            results += _run(chosen[name], number, arguments)
    report = page.report(results)
    sys.stdout.write(f"\n{report.body}\n")
    for bar in report.bars:
        sys.stdout.write(f"{bar.name}: {bar.found:g}, {'held' if bar.held else 'missed'}\n")
    report.keep()


if __name__ == "__main__":
    main()
