"""What was found, as this benchmark's part of the results page."""

import statistics
import sys
from collections.abc import Iterable, Sequence

import msgspec

from ops.bench import chart
from ops.bench.deltas.measurement import CARRIED, KEPT_UP, Load, Result
from ops.bench.growth import exponent
from ops.bench.machine import machine
from ops.bench.peers.environment import versions
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, middle, table

OURS, LIMIT, FLOOR = "deltaworks", "raw asyncio reader", "raw uvloop reader"
RECIPE, PROXY = "celery recipe", "litellm proxy"
RATE = 50.0
# The bars of issue 7. At most so many times the raw asyncio reader's CPU, by streams; at least so
# many times below the best recipe's and the proxy's; at least so many deltas a second sustained;
# milliseconds from the upstream's write to a Redis reader, at so many streams.
MOST_TIMES_LIMIT = {200: 2.3, 1000: 1.8}
LEAST_BELOW_RECIPE, LEAST_BELOW_PROXY = 10.0, 15.0
LEAST_SUSTAINED = 50_000.0
MOST_LATENCY_MS, COMPARED = 1.0, 200
# The same number of deltas a second in few streams and in many.
FEW, MANY = Load(200, 50.0), Load(4000, 2.5)

PACKAGES = ("celery", "httpx", "httptools", "redis", "hiredis", "msgspec", "uvloop")
PEER_PACKAGES = ("celery", "openai", "httpx2", "redis", "gevent")

Groups = dict[tuple[str, Load], list[Result]]

EXPLANATION = f"""\
CPU is user and system time of the system's process, children included, over a window in which all
streams run, divided by the deltas the simulator wrote in it, or by those that were published where
these are fewer. The system has one core, and all else the others. `whole` is the same from the
first submit to the last end announced: claims, connections, saving and closing included. Streams
become more (than 1,000 in the first run only) until a system publishes less than {CARRIED:.0%} of
what was to be written; `carried` is what is sustained: all streams open, and at least
{KEPT_UP:.0%} of what was written is out in the same window. `waited` is the share of the window in
which the process was ready to run but others had the cores: far above 0, the machine was busy with
something else, more is merged in the sockets, and latency is that of the scheduler.

The raw readers are one `asyncio.Protocol` a stream, on the loop of `asyncio` and on uvloop: they
take the bytes out of their HTTP chunks and split them into events, as every reader has to, and that
is all; `in one` is for them the events of a read, and for all others the deltas of a message.
LiteLLM is counted by what reaches its client. Latency is from the upstream's write to a plain Redis
reader, beside that of bare messages through the same Redis and reader (control)."""


def line(result: Result) -> str:
    """One measurement, as it is printed while others still run."""
    load = result.load
    said = (
        f"{result.system:30} {load.streams:5} x {load.rate:<4g} {result.deltas_per_s:7,.0f} "
        f"deltas/s of {result.written_per_s:7,.0f}, {result.merged:.2f} in one  "
        f"{result.cpu_us:7.1f} us  {result.core:6.1%} of a core, waited {result.waited:.1%}  "
        f"redis {result.redis_us:.1f} us, simulator {result.simulator_us:.1f} us"
    )
    if result.opened < load.streams:
        said += f", {result.opened:,} open"
    if result.saturated:
        said += ", the simulator is saturated" if result.starved else ", saturated"
    if result.latency is None or result.control is None:
        return said
    return (
        f"{said}  whole {result.whole_cpu_us} us, {result.unfinished} unfinished  "
        f"latency {result.latency.median_ms:.2f} "
        f"{result.latency.p90_ms:.2f} {result.latency.p99_ms:.2f} ms "
        f"(control {result.control.median_ms:.2f} {result.control.p99_ms:.2f})"
    )


def report(results: Sequence[Result]) -> Report:
    """All of it."""
    groups = grouped(results, lambda r: (r.system, r.load))
    sustained = _sustained(results)
    parts = [EXPLANATION, _table(groups), _saturation(groups, sustained), _growth(groups)]
    return Report(
        name="deltas",
        title="CPU per delta, and deltas a second",
        command=" ".join(["python -m ops.bench.deltas", *sys.argv[1:]]),
        machine=_machine(groups),
        runs=1 + max((result.run for result in results), default=0),
        body="\n\n".join(parts),
        bars=_bars(groups, sustained),
        charts=_charts(groups),
        results=msgspec.Raw(msgspec.json.encode(results)),
    )


def _machine(groups: Groups) -> dict[str, str]:
    measured = {system for system, _ in groups}
    known = machine(PACKAGES)
    if measured - {OURS, LIMIT, FLOOR, PROXY}:
        known = machine(PACKAGES, "celery", PEER_PACKAGES)
    if PROXY in measured:
        known["proxy"] = f"litellm {versions('litellm', 'litellm')['litellm']}"
    return known


def _table(groups: Groups) -> str:
    names = ["streams", "deltas/s each", "system", "us a delta", "times raw asyncio"]
    names += ["times raw uvloop", "whole", "deltas/s", "written/s", "in one", "core", "waited"]
    names += ["Redis us", "latency ms median, p99", "control median, p99"]
    rows = []
    for (system, load), found in sorted(groups.items(), key=_by_load):
        opened = min(result.opened for result in found)
        streams = f"{load.streams:,}"
        whole = [result.whole_cpu_us for result in found if result.whole_cpu_us is not None]
        rows.append([
            streams if opened >= load.streams else f"{streams} ({opened:,} open)",
            f"{load.rate:g}",
            system,
            f"**{middle(found, lambda r: r.cpu_us):g}** {_range(r.cpu_us for r in found)}",
            _times(groups, system, load, LIMIT),
            _times(groups, system, load, FLOOR),
            f"{statistics.median(whole):g}" if whole else "",
            f"{middle(found, lambda r: r.deltas_per_s):,.0f}",
            f"{middle(found, lambda r: r.written_per_s):,.0f}",
            f"{middle(found, lambda r: r.merged):.2f}",
            f"{middle(found, lambda r: r.core):.0%}",
            f"{middle(found, lambda r: r.waited):.0%}",
            f"{middle(found, lambda r: r.redis_us):g}" if _publishes(system) else "",
            *_latencies(found),
        ])  # fmt: skip
    return "\n".join(table(names, rows))


def _by_load(group: tuple[tuple[str, Load], list[Result]]) -> tuple[float, int, str]:
    (system, load), _ = group
    return -load.rate, load.streams, system


def _publishes(system: str) -> bool:
    return system == OURS or system.startswith(RECIPE)


def _latencies(found: Sequence[Result]) -> tuple[str, str]:
    deltas = [result.latency for result in found if result.latency]
    control = [result.control for result in found if result.control]
    if not deltas or not control:
        return "", ""
    first, second = (
        f"{middle(spreads, lambda s: s.median_ms):.2f}, {middle(spreads, lambda s: s.p99_ms):.2f}"
        for spreads in (deltas, control)
    )
    return first, second


def _times(groups: Groups, system: str, load: Load, reader: str) -> str:
    times = _ratio(groups.get((system, load), []), groups.get((reader, load), []))
    return "" if times is None or system == reader else f"{times:g}"


def _ratio(found: Iterable[Result], others: Iterable[Result]) -> float | None:
    """The median of the runs in which both were measured: how many times the others' CPU it is."""
    of_others = {result.run: result.cpu_us for result in others}
    times = [result.cpu_us / of_others[result.run] for result in found if result.run in of_others]
    return round(statistics.median(times), 2) if times else None


def _sustained(results: Sequence[Result]) -> float | None:
    """Ours: the most deltas a second that it kept up with, the median of the runs."""
    best: dict[int, float] = {}
    for result in results:
        if result.system == OURS and result.kept_up:
            best[result.run] = max(best.get(result.run, 0.0), result.deltas_per_s)
    return statistics.median(best.values()) if best else None


def _saturation(groups: Groups, sustained: float | None) -> str:
    heads = ["system", "carried, deltas/s", "saturated at", "then, deltas/s"]
    rows = []
    for system in dict.fromkeys(name for name, _ in groups):
        loads = {load: found for (name, load), found in groups.items() if name == system}
        kept = [found for found in loads.values() if all(result.kept_up for result in found)]
        carried = max((middle(found, lambda r: r.deltas_per_s) for found in kept), default=0)
        full = [load for load, found in loads.items() if all(r.saturated for r in found)]
        first = min(full, key=lambda load: load.asked_per_s, default=None)
        cells = [system, f"{carried:,.0f}" if carried else "less than the least"]
        cells.append(f"{first.streams:,} streams" if first else "not here")
        if first and all(result.starved for result in loads[first]):
            cells[-1] += ", the simulator is"
        then = middle(loads[first], lambda r: r.deltas_per_s) if first else None
        cells.append(f"{then:,.0f}" if then is not None else "")
        rows.append(cells)
    lines = table(heads, rows)
    if sustained is not None:
        lines += ["", f"One worker process sustained {sustained:,.0f} deltas/s on its core."]
    return "\n".join(lines)


def _growth(groups: Groups) -> str:
    rows = []
    for system in (OURS, LIMIT, FLOOR):
        points = _points(groups, system)
        if (found := exponent(points)) is not None:
            few, many = points[0][0], points[-1][0]
            name = f"{system}: streams of {RATE:g} each, {few:,} to {many:,}"
            rows.append([name, f"{found:g}"])
    few_many = [
        (load.streams, middle(groups[OURS, load], lambda r: r.cpu_us))
        for load in (FEW, MANY)
        if (OURS, load) in groups
    ]
    if (found := exponent(few_many)) is not None:
        name = f"{OURS}: streams, at {FEW.asked_per_s:,.0f} deltas/s in all"
        rows.append([f"{name}, {FEW.streams:,} to {MANY.streams:,}", f"{found:g}"])
    return "\n".join(table(["us a delta grow with", "exponent"], rows))


def _points(groups: Groups, system: str) -> list[tuple[float, float]]:
    """CPU by streams, as far as the system carried them."""
    return sorted(
        (load.streams, middle(found, lambda r: r.cpu_us))
        for (name, load), found in groups.items()
        if name == system and load.rate == RATE and not any(r.saturated for r in found)
    )


def _bars(groups: Groups, sustained: float | None) -> list[Bar]:
    bars: list[Bar] = []

    def add(name: str, limit: float, found: float | None, at_most: bool = True) -> None:
        if found is not None:
            bars.append(Bar(name, limit, found, at_most))

    for streams, most in MOST_TIMES_LIMIT.items():
        load = Load(streams, RATE)
        times = _ratio(groups.get((OURS, load), []), groups.get((LIMIT, load), []))
        add(f"times the {LIMIT}'s us a delta, {streams:,} streams", most, times)
    ours = groups.get((OURS, FEW), [])
    for peer, least in ((RECIPE, LEAST_BELOW_RECIPE), (PROXY, LEAST_BELOW_PROXY)):
        best = [
            middle(found, lambda r: r.cpu_us)
            for (name, _), found in groups.items()
            if name.startswith(peer)
        ]
        if ours and best:
            factor = round(min(best) / middle(ours, lambda r: r.cpu_us), 1)
            name = f"times below the best {peer}'s us a delta, {COMPARED} streams"
            add(name, least, factor, at_most=False)
    add("deltas/s sustained by one process on one core", LEAST_SUSTAINED, sustained, at_most=False)
    again = _ratio(groups.get((OURS, MANY), []), ours)
    add(f"times the us a delta of {FEW.streams} streams, {MANY.streams:,} as fast", 1.0, again)
    medians = [result.latency.median_ms for result in ours if result.latency]
    latency_ms = statistics.median(medians) if medians else None
    add(f"ms of latency, median, {COMPARED} streams", MOST_LATENCY_MS, latency_ms)
    every = [result for (name, _), found in groups.items() if name == OURS for result in found]
    add("jobs left unfinished, all runs", 0, sum(r.unfinished for r in every) if every else None)
    return bars


def _charts(groups: Groups) -> dict[str, str]:
    systems = list(dict.fromkeys(name for name, _ in groups))
    cpu = {name: _every(groups, name, "cpu_us") for name in systems}
    carried = {name: _every(groups, name, "deltas_per_s") for name in systems}
    streams = f"streams of {RATE:g} deltas/s"
    return {
        "deltas-cpu.svg": chart.lines(
            "CPU per delta", streams, "microseconds", cpu, log_x=True, log_y=True
        ),
        "deltas-rate.svg": chart.lines(
            "Deltas a second, one core", streams, "deltas/s", carried, log_x=True, log_y=True
        ),
    }


def _every(groups: Groups, system: str, number: str) -> list[tuple[float, float]]:
    return sorted(
        (load.streams, statistics.median(getattr(result, number) for result in found))
        for (name, load), found in groups.items()
        if name == system and load.rate == RATE
    )


def _range(numbers: Iterable[float]) -> str:
    found = list(numbers)
    return f"({min(found):g}-{max(found):g})"
