"""Resident memory: of a worker for each open stream, of a gateway for each reader.

    python -m ops.bench.memory             one run, kept for ops/bench/RESULTS.md
    python -m ops.bench.memory --runs 5    five
    python -m ops.bench.memory --quick     whether it works: no numbers to quote

Streams of one delta a second, so that no process is busy; more and more of them in the same
process, which has run one job before and is else empty. Beside them the same for openai's SDK and
for the Celery recipe on threads, and readers of one job's server-sent events on a gateway.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from ops.bench import chart, upstream
from ops.bench.deltas.alternatives import Recipe, Sdk
from ops.bench.gateway.clients import Clients
from ops.bench.gateway.connections import Request
from ops.bench.gateway.systems import Gateway
from ops.bench.growth import exponent
from ops.bench.machine import machine
from ops.bench.page import hand_in
from ops.bench.processes import start_redis, start_simulator
from ops.bench.reported import Bar, Report
from ops.bench.systems import Deltaworks, Scene, System
from ops.bench.tables import grouped, middle, table
from ops.bench.upstream import Upstream
from worker.sockets import allow_many_sockets

OURS, READERS = "deltaworks", "gateway, readers"
# Deltas a second in each stream, and in the one that all readers hear.
RATE, HEARD_RATE = 1.0, 0.2
COUNTS = {OURS: (200, 1000, 2000), READERS: (200, 1000, 2000)}
THEIR_COUNTS, QUICK_COUNTS = (50, 200), (20, 50)
# How long opening may take, and how long all are open before memory is read.
OPENING_S, SETTLING_S = 60.0, 3.0
# Longer than any measurement takes.
LASTING_S = 600.0
# The bar of issue 7.
MOST_STREAM_KB = 60.0

PACKAGES = ("celery", "httpx", "httptools", "redis", "starlette", "uvicorn", "uvloop")
PEER_PACKAGES = ("celery", "openai", "httpx2", "redis")
EXPLANATION = f"""\
Resident memory of the process beyond what it was before, for each stream of {RATE:g} delta a second
that is open in it; and of a gateway for each reader of one job's server-sent events. `beyond empty`
is the bar's; `each more` is the slope from the fewest to the most, without what the first ones
bring about once."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one process took.

    Attributes:
        run: its number.
        empty_mb: before the first was open.
        taken: how many were open, and the megabytes that the process then had.
    """

    system: str
    run: int
    empty_mb: float
    taken: list[tuple[int, float]]

    def beyond_kb(self, at: int) -> float:
        """For each of those open, beyond the empty process; `at` counts the `taken`."""
        count, mb = self.taken[at]
        return (mb - self.empty_mb) * 1000 / count

    @property
    def more_kb(self) -> float:
        """For each between the fewest and the most."""
        (fewest, least_mb), (most, most_mb) = self.taken[0], self.taken[-1]
        return (most_mb - least_mb) * 1000 / (most - fewest)


def streams(counts: Sequence[int], run: int) -> Result:
    """Of our worker: more and more streams in one process."""
    with ExitStack() as stack:
        scene = _scene(stack, counts[-1])
        system, simulator = Deltaworks(), Upstream(scene.base_url, scene.model)
        worker = system.start(stack, scene)
        empty_mb, taken = worker.memory_mb(), []
        before = 0
        for count in counts:
            system.submit_some(count - before)
            opened = simulator.await_open(count, OPENING_S)
            time.sleep(SETTLING_S)
            taken.append((opened, worker.memory_mb()))
            before = count
    return Result(system=OURS, run=run, empty_mb=empty_mb, taken=taken)


def others(system: System, counts: Sequence[int], run: int) -> Result:
    """Of what opens all its streams at once: a process for each number of them, one is empty."""
    found = []
    for count in (1, *counts):
        with ExitStack() as stack:
            scene = _scene(stack, count)
            process = system.start(stack, scene)
            system.submit()
            opened = Upstream(scene.base_url, scene.model).await_open(count, OPENING_S)
            time.sleep(SETTLING_S)
            found.append((opened, process.memory_mb()))
    return Result(system=system.name, run=run, empty_mb=found[0][1], taken=found[1:])


def readers(counts: Sequence[int], run: int) -> Result:
    """Of our gateway: more and more readers of one job."""
    with ExitStack() as stack:
        scene = msgspec.structs.replace(
            _scene(stack, 1), model=upstream.model(int(LASTING_S * HEARD_RATE), HEARD_RATE)
        )
        system = Gateway()
        gateway, _ = system.open(stack, scene)
        [_] = system.submit()
        request = Request("GET", f"/v1/jobs/{system.jobs[0]}/events")
        _read(stack, system, [request], scene.folder / "first")
        time.sleep(SETTLING_S)
        empty_mb, taken = gateway.memory_mb(), []
        before = 0
        for count in counts:
            _read(stack, system, [request] * (count - before), scene.folder / str(count))
            time.sleep(SETTLING_S)
            taken.append((count, gateway.memory_mb()))
            before = count
    return Result(system=READERS, run=run, empty_mb=empty_mb, taken=taken)


def _read(stack: ExitStack, system: Gateway, requests: Sequence[Request], folder: Path) -> None:
    folder.mkdir()
    stack.enter_context(Clients(system.address, requests, folder)).await_begun()


def _scene(stack: ExitStack, most: int) -> Scene:
    prefix = "deltaworks-bench-"
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
    _, redis_url = start_redis(stack, folder)
    _, base_url = start_simulator(stack, folder)
    model = upstream.model(int(LASTING_S * RATE), RATE)
    return Scene(folder, redis_url, base_url, most, model)


def line(result: Result) -> str:
    """One process, as it is printed while others still run."""
    taken = ", ".join(
        f"{count:,} open {mb:.0f} MB, {result.beyond_kb(at):.1f} KB each"
        for at, (count, mb) in enumerate(result.taken)
    )
    return f"{result.system:30} empty {result.empty_mb:.0f} MB, {taken}; {result.more_kb:.1f} more"


def report(results: Sequence[Result]) -> Report:
    """All of it."""
    groups = grouped(results, lambda r: r.system)
    peers = set(groups) - {OURS, READERS}
    known = machine(PACKAGES, "celery", PEER_PACKAGES) if peers else machine(PACKAGES)
    bars = []
    if ours := groups.get(OURS):
        found = round(middle(ours, lambda r: r.beyond_kb(-1)), 1)
        bars.append(Bar("KB an open stream, beyond the empty worker", MOST_STREAM_KB, found))
    each = {name: middle(found, lambda r: r.beyond_kb(-1)) for name, found in groups.items()}
    return Report(
        name="memory",
        title="Memory of a stream and of a reader",
        command=" ".join(["python -m ops.bench.memory", *sys.argv[1:]]),
        machine=known,
        runs=1 + max(result.run for result in results),
        body="\n\n".join([EXPLANATION, _table(groups), _growth(groups)]),
        bars=bars,
        charts={"memory.svg": chart.bars("Memory of each", "kilobytes", each, log_y=True)},
        results=msgspec.Raw(msgspec.json.encode(results)),
    )


Groups = dict[str, list[Result]]


def _table(groups: Groups) -> str:
    heads = ["process", "open", "MB empty", "MB then", "KB each, beyond empty", "KB each more"]
    rows = []
    for system, found in groups.items():
        more = [result.more_kb for result in found]
        for at, (count, _) in enumerate(found[0].taken):
            beyond = [result.beyond_kb(at) for result in found]
            cells = [system, f"{count:,}", f"{middle(found, lambda r: r.empty_mb):.0f}"]
            cells += [f"{statistics.median(result.taken[at][1] for result in found):.0f}"]
            cells += [f"**{statistics.median(beyond):.1f}** ({min(beyond):.1f}-{max(beyond):.1f})"]
            last = at == len(found[0].taken) - 1
            cells += [f"{statistics.median(more):.1f}" if last else ""]
            rows.append(cells)
    return "\n".join(table(heads, rows))


def _growth(groups: Groups) -> str:
    rows = []
    for system, found in groups.items():
        counts = [count for count, _ in found[0].taken]
        points = [
            (count, statistics.median(result.beyond_kb(at) for result in found))
            for at, count in enumerate(counts)
        ]
        if (slope := exponent(points)) is not None:
            rows.append([f"{system}: {counts[0]:,} to {counts[-1]:,} open", f"{slope:g}"])
    return "\n".join(table(["KB each grow with", "exponent"], rows))


def _measure(name: str, run: int, quick: bool) -> Result:
    if name == "streams":
        return streams(QUICK_COUNTS if quick else COUNTS[OURS], run)
    if name == "readers":
        return readers(QUICK_COUNTS if quick else COUNTS[READERS], run)
    peer: System = Sdk() if name == "sdk" else Recipe("threads")
    return others(peer, QUICK_COUNTS if quick else THEIR_COUNTS, run)


def main() -> None:
    """Measure, print, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = ["streams", "readers", "sdk", "recipe"]
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--only", choices=parts, nargs="+", help="not all")
    parser.add_argument("--quick", action="store_true", help="few streams")
    arguments = parser.parse_args()
    allow_many_sockets()
    results: list[Result] = []
    for run in range(arguments.runs):
        for part in arguments.only or parts:
            results.append(_measure(part, run, arguments.quick))
            sys.stdout.write(line(results[-1]) + "\n")
            sys.stdout.flush()
    hand_in(report(results))


if __name__ == "__main__":
    main()
