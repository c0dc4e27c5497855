"""What is added between the upstream's write of a delta and its readers.

    python -m ops.bench.latency             one run, kept for ops/bench/RESULTS.md
    python -m ops.bench.latency --runs 5    five
    python -m ops.bench.latency --quick     whether it works: no numbers to quote

First one worker, on a core of its own, is given more than it carries: what it publishes then is the
saturation that the loads are shares of. Then, at each load, some of the jobs are read by a plain
Redis reader and by readers of server-sent events behind a gateway, each kind in a process of its
own. Meanwhile bare messages go through the same Redis to the same reader (control).
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import msgspec

from ops.bench import arrivals, chart, upstream
from ops.bench.cores import alone
from ops.bench.deltas.measurement import Load, measure
from ops.bench.gateway.clients import Clients
from ops.bench.gateway.connections import Request, Response
from ops.bench.gateway.connections import arrivals as frames_of
from ops.bench.gateway.systems import Gateway
from ops.bench.growth import exponent
from ops.bench.machine import machine
from ops.bench.page import hand_in
from ops.bench.processes import start_redis, start_simulator
from ops.bench.reported import Bar, Report
from ops.bench.spread import Spread
from ops.bench.systems import Deltaworks, Scene
from ops.bench.tables import grouped, middle, table
from ops.bench.upstream import Upstream, written_between
from worker.sockets import allow_many_sockets

# Deltas a second in each stream.
RATE = 50.0
# More than one worker carries, and what no machine is busy with.
OVERLOAD, QUICK_OVERLOAD, IDLE = 2000, 100, 20
SHARES = {"idle": 0.0, "quarter": 0.25, "half": 0.5, "nine tenths": 0.9}
# How many jobs are heard by each kind of reader: the last to open, which are the last to end.
READ = 20
# How many jobs a second are submitted before the first delta comes; see `deltas.measurement`.
OPENED_PER_S = 150
OPENING_S, SETTLING_S, SPARE_S, ENDING_S = 40.0, 1.5, 6.0, 60.0
WINDOW_S, QUICK_WINDOW_S = 6.0, 2.0
# The bars of issue 7: milliseconds to a Redis reader, and how many times the control's.
MOST_MEDIAN_MS, MOST_TIMES_CONTROL = 1.0, 2.0

PACKAGES = ("redis", "hiredis", "httptools", "uvloop", "starlette", "uvicorn", "msgspec")
EXPLANATION = f"""\
Milliseconds from the upstream's write of a delta to its arrival, {RATE:g} deltas a second in each
stream, {READ} of the streams read: by a plain Redis reader, and by readers of server-sent events
behind a gateway. The control is a bare message through the same Redis to the same reader. The
worker has a core for itself, and the simulator, Redis, the gateway, all readers and the bench share
the others. `waited` is the share of the window in which the worker was ready to run but others had
its core; `in one` is how many deltas a message held. Saturation is what one worker publishes of
{OVERLOAD:,} streams; the loads are shares of it."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What was found at one load.

    Attributes:
        run: its number.
        level: the load's name, a key of `SHARES`.
        opened: how many streams were open from the window's begin to its end.
        written_per_s, deltas_per_s: by the upstream, and published.
        merged: deltas in a message, on average.
        core, waited: of the worker; see `ops.bench.deltas.measurement`.
        unfinished: jobs whose end was not announced in time.
        redis, sse, control: from the write to the readers.
    """

    run: int
    level: str
    streams: int
    opened: int
    written_per_s: float
    deltas_per_s: float
    merged: float
    core: float
    waited: float
    unfinished: int
    redis: Spread
    sse: Spread
    control: Spread


class Found(msgspec.Struct, frozen=True):
    """All runs, and the saturation in deltas a second that their loads are shares of."""

    saturation: float
    results: list[Result]


def take(level: str, streams: int, window_s: float, run: int) -> Result:
    """One load, from the start of its processes to their end."""
    with ExitStack() as stack:
        prefix = "deltaworks-bench-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        _, redis_url = start_redis(stack, folder)
        _, base_url = start_simulator(stack, folder)
        opening_s = 1.0 + streams / OPENED_PER_S
        lasting_s = opening_s + SETTLING_S + window_s + SPARE_S
        model = upstream.model(int(RATE * lasting_s), RATE, opening_s)
        simulator, system = Upstream(base_url, model), Gateway()
        _, worker = system.open(stack, Scene(folder, redis_url, base_url, streams, model))
        channels = system.submit()
        opened = simulator.await_open(streams, OPENING_S)
        stack.enter_context(alone(worker))
        requests = [Request("GET", f"/v1/jobs/{job}/events") for job in system.jobs[-READ:]]
        clients = stack.enter_context(Clients(system.address, requests, folder))
        clients.await_begun()
        time.sleep(opening_s + SETTLING_S)
        file = folder / "arrivals"
        reader = arrivals.Reader(redis_url, channels[-READ:], window_s + 0.5, file)
        with reader:
            before, used_s, waited_s = system.progress(simulator), worker.cpu_s(), worker.waited_s()
            begun_ns = time.time_ns()
            reader.control(window_s)
            ended_ns = time.time_ns()
            used_s, waited_s = worker.cpu_s() - used_s, worker.waited_s() - waited_s
            after = system.progress(simulator)
            opened = min(opened, simulator.open())
            arrived = reader.arrivals()
        unfinished = system.await_end(ENDING_S)
        served = simulator.served()
        responses = clients.responses(ENDING_S)
    took_s = (ended_ns - begun_ns) / 1e9
    published, messages = after.deltas - before.deltas, after.messages - before.messages
    times = {request.job or "": dict(request.times) for request in served}
    heard = zip(system.jobs[-READ:], responses, strict=True)
    delays = [
        delay
        for job, response in heard
        for delay in _delays(response, times.get(job, {}), simulator, (begun_ns, ended_ns))
    ]
    return Result(
        run=run,
        level=level,
        streams=streams,
        opened=opened,
        written_per_s=round(written_between(served, begun_ns, ended_ns) / took_s),
        deltas_per_s=round(published / took_s),
        merged=round(published / max(messages, 1), 2),
        core=round(used_s / took_s, 3),
        waited=round(waited_s / took_s, 3),
        unfinished=unfinished,
        redis=arrivals.of_deltas(arrived, served, simulator),
        sse=Spread.of(delays),
        control=arrivals.of_control(arrived),
    )


def _delays(
    response: Response, written: Mapping[int, int], text: Upstream, window_ns: tuple[int, int]
) -> Iterator[int]:
    """Of one SSE reader's deltas that were written in the window, in ns."""
    seen = 0
    for frame in frames_of(response):
        if frame.event != "delta":
            continue
        until = text.deltas_until(int(frame.id.partition("-")[2]))
        for number in range(seen + 1, until + 1):
            if window_ns[0] <= written[number] < window_ns[1]:
                yield frame.at_ns - written[number]
        seen = until


def line(result: Result) -> str:
    """One load, as it is printed while others still run."""
    redis, sse, control = (
        f"{spread.median_ms:.2f} {spread.p90_ms:.2f} {spread.p99_ms:.2f}"
        for spread in (result.redis, result.sse, result.control)
    )
    return (
        f"{result.level:12} {result.opened:5} of {result.streams:5} streams "
        f"{result.deltas_per_s:7,.0f} deltas/s of {result.written_per_s:7,.0f}, "
        f"{result.merged:.2f} in one  {result.core:.1%} of a core, waited {result.waited:.1%}  "
        f"redis {redis} ms  sse {sse} ms  control {control} ms, {result.unfinished} unfinished"
    )


def report(found: Found) -> Report:
    """All of it."""
    groups = grouped(found.results, lambda r: r.level)
    said = f"One worker published {found.saturation:,.0f} deltas/s at saturation."
    body = [EXPLANATION, said, _table(groups), _growth(groups)]
    return Report(
        name="latency",
        title="Latency added to a delta",
        command=" ".join(["python -m ops.bench.latency", *sys.argv[1:]]),
        machine=machine(PACKAGES),
        runs=1 + max((result.run for result in found.results), default=0),
        body="\n\n".join(body),
        bars=_bars(groups),
        charts={"latency.svg": _chart(groups)},
        results=msgspec.Raw(msgspec.json.encode(found)),
    )


Groups = Mapping[str, Sequence[Result]]


def _table(groups: Groups) -> str:
    names = ["load", "streams", "deltas/s", "written/s", "in one", "core", "waited"]
    names += ["Redis reader: median", "p90", "p99", "SSE reader: median", "p90", "p99"]
    names += ["control: median", "p90", "p99"]
    rows = []
    for level, found in groups.items():
        cells = [level, f"{middle(found, lambda r: r.streams):,.0f}"]
        cells += [f"{middle(found, lambda r: r.deltas_per_s):,.0f}"]
        cells += [f"{middle(found, lambda r: r.written_per_s):,.0f}"]
        cells += [f"{middle(found, lambda r: r.merged):.2f}"]
        cells += [f"{middle(found, lambda r: r.core):.0%}"]
        cells += [f"{middle(found, lambda r: r.waited):.0%}"]
        for spreads in (
            [r.redis for r in found],
            [r.sse for r in found],
            [r.control for r in found],
        ):
            medians = [spread.median_ms for spread in spreads]
            cells += [f"**{statistics.median(medians):.2f}** ({min(medians):g}-{max(medians):g})"]
            cells += [f"{middle(spreads, lambda s: s.p90_ms):.2f}"]
            cells += [f"{middle(spreads, lambda s: s.p99_ms):.2f}"]
        rows.append(cells)
    return "\n".join(table(names, rows))


READERS: dict[str, Callable[[Result], Spread]] = {
    "Redis reader": lambda r: r.redis,
    "SSE reader": lambda r: r.sse,
    "control": lambda r: r.control,
}


def _series(groups: Groups, number: Callable[[Result], float]) -> list[tuple[float, float]]:
    """A number by deltas a second."""
    return [
        (middle(found, lambda r: r.deltas_per_s), middle(found, number))
        for found in groups.values()
    ]


def _growth(groups: Groups) -> str:
    rows = []
    for name, spread in READERS.items():
        found = exponent(_series(groups, lambda r, spread=spread: spread(r).median_ms))  # type: ignore[misc]
        if found is not None:
            rows.append([name, f"{found:g}"])
    return "\n".join(table(["median grows with deltas/s", "exponent"], rows))


def _bars(groups: Groups) -> list[Bar]:
    bars = []
    for level in ("idle", "half"):
        if found := groups.get(level):
            median_ms = middle(found, lambda r: r.redis.median_ms)
            bars.append(Bar(f"ms to a Redis reader, median, {level}", MOST_MEDIAN_MS, median_ms))
    if half := groups.get("half"):
        times = round(middle(half, lambda r: r.redis.p99_ms / r.control.p99_ms), 2)
        bars.append(Bar("times the control's 99th percentile, half", MOST_TIMES_CONTROL, times))
    unfinished = sum(result.unfinished for found in groups.values() for result in found)
    return [*bars, Bar("jobs left unfinished, all runs", 0, unfinished)]


def _chart(groups: Groups) -> str:
    series = {}
    for name, spread in READERS.items():
        series[f"{name}, median"] = _series(groups, lambda r, of=spread: of(r).median_ms)  # type: ignore[misc]
        series[f"{name}, p99"] = _series(groups, lambda r, of=spread: of(r).p99_ms)  # type: ignore[misc]
    return chart.lines("Latency added", "deltas/s", "milliseconds", series, log_x=True, log_y=True)


def main() -> None:
    """Measure, print, and keep what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--window", type=float, metavar="SECONDS")
    parser.add_argument("--only", choices=list(SHARES), nargs="+", help="not all loads")
    parser.add_argument(
        "--saturation", type=float, metavar="DELTAS/S", help="as known, instead of measured"
    )
    parser.add_argument("--quick", action="store_true", help="few streams, short windows")
    arguments = parser.parse_args()
    allow_many_sockets()
    window_s = arguments.window or (QUICK_WINDOW_S if arguments.quick else WINDOW_S)
    saturation = arguments.saturation or _saturation(window_s, arguments.quick)
    results: list[Result] = []
    for run in range(arguments.runs):
        for level in arguments.only or SHARES:
            streams = int(SHARES[level] * saturation / RATE) or IDLE
            try:
                results.append(take(level, streams, window_s, run))
            except (RuntimeError, httpx.HTTPError) as error:
                sys.stdout.write(f"{level}, {streams:,} streams: {error}\n")
                continue
            sys.stdout.write(line(results[-1]) + "\n")
            sys.stdout.flush()
    hand_in(report(Found(saturation, results)))


def _saturation(window_s: float, quick: bool) -> float:
    """What a worker publishes a second that is given more than it carries."""
    load = Load(QUICK_OVERLOAD if quick else OVERLOAD, RATE)
    found = measure(Deltaworks(), load, window_s, run=0)
    sys.stdout.write(
        f"saturation {found.deltas_per_s:,.0f} deltas/s of {found.written_per_s:,.0f} written, "
        f"{load.asked_per_s:,.0f} asked for; {found.core:.0%} of a core\n"
    )
    sys.stdout.flush()
    return found.deltas_per_s


if __name__ == "__main__":
    main()
