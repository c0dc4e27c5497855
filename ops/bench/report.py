"""The results page: medians, spread, and the bars beside them."""

import statistics
import sys
from collections.abc import Iterable, Sequence

from ops.bench.measurement import RATE, Result
from ops.bench.tables import BARS, bar, grouped, middle

OURS = "deltaworks"
PEER = "celery recipe, threads"
FLOOR = "raw reader"
# At most so many microseconds of CPU for each delta, by streams.
MOST_CPU_US = {200: 60.0, 1000: 35.0}
# At least so many times below the peer's.
LEAST_FACTOR = 8.0
# Median milliseconds from the upstream's write to a Redis reader, at this many streams.
MOST_LATENCY_MS, LATENCY_STREAMS = 2.0, 200

PACKAGES = ("celery", "httpx", "httptools", "redis", "hiredis", "msgspec", "uvloop")
PEER_PACKAGES = ("celery", "openai", "httpx2", "redis", "gevent")


def line(result: Result) -> str:
    """One measurement, as it is printed while others still run."""
    said = (
        f"{result.system:24} {result.streams:5} streams {result.deltas_per_s:7,.0f} deltas/s "
        f"of {result.written_per_s:7,.0f}, {result.merged:.2f} a message  "
        f"{result.cpu_us:7.1f} us  {result.core:6.1%} of a core, waited {result.waited:.1%}  "
        f"redis {result.redis_us:5.1f} us"
    )
    if result.latency is None or result.control is None:
        return said
    return (
        f"{said}  whole {result.whole_cpu_us} us, {result.unfinished} unfinished  "
        f"latency {result.latency.median_ms:.2f} "
        f"{result.latency.p90_ms:.2f} {result.latency.p99_ms:.2f} ms "
        f"(control {result.control.median_ms:.2f})"
    )


def page(results: Sequence[Result], machine: dict[str, str]) -> str:
    """All of it, as Markdown."""
    groups = grouped(results, lambda r: (r.streams, r.system))
    runs = max(len(found) for found in groups.values())
    command = " ".join(["python -m ops.bench.deltas", *sys.argv[1:]])
    lines = ["# CPU and latency per delta", "", f"Made by `{command}`.", ""]
    lines += [f"- {name}: {value}" for name, value in machine.items()]
    lines += ["", f"Medians of {runs} runs, lowest and highest in brackets; {EXPLANATION}", ""]
    lines += _cpu_table(groups)
    lines += ["", *_latency_table(groups), "", *_bars(groups)]
    return "\n".join(lines) + "\n"


EXPLANATION = (
    f"each stream writes {RATE:g} deltas a\nsecond. CPU is user and system time of the system's "
    "process over a window in which all streams run,\ndivided by the deltas the simulator wrote "
    "in it, or by those that were published where these are\nfewer. `whole` is the same from the "
    "first submit to the last end announced: claims, connections,\nsaving and closing included. "
    "`waited` is the share of the window in which the process was ready to run but\nothers had the "
    "cores: far above 0, the machine was busy with something else, and latency is that of\nits "
    "scheduler."
)

Groups = dict[tuple[int, str], list[Result]]


def _cpu_table(groups: Groups) -> list[str]:
    head = (
        "| streams | system | us a delta | whole | deltas/s | written/s | in a message | core "
        "| waited | Redis us | MB |"
    )
    rows = [head, "|" + " --- |" * 11]
    for (streams, system), found in sorted(groups.items()):
        opened = min(result.opened for result in found)
        cells = [
            f"{streams:,}" if opened == streams else f"{streams:,} ({opened:,} opened)",
            system,
            f"**{middle(found, lambda r: r.cpu_us):g}** {_range(r.cpu_us for r in found)}",
            f"{middle(found, lambda r: r.whole_cpu_us or 0):g}" if system == OURS else "",
            f"{middle(found, lambda r: r.deltas_per_s):,.0f}",
            f"{middle(found, lambda r: r.written_per_s):,.0f}",
            f"{middle(found, lambda r: r.merged):.2f}" if system != FLOOR else "",
            f"{middle(found, lambda r: r.core):.0%}",
            f"{middle(found, lambda r: r.waited):.0%}",
            f"{middle(found, lambda r: r.redis_us):g}",
            f"{middle(found, lambda r: r.memory_mb):.0f}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _latency_table(groups: Groups) -> list[str]:
    rows = [
        "Milliseconds from the upstream's write to a plain Redis reader, and of bare messages "
        "through the\nsame Redis and reader (control):",
        "",
        "| streams | median | p90 | p99 | control median | p99 |",
        "|" + " --- |" * 6,
    ]
    for (streams, _), found in sorted(groups.items()):
        deltas = [result.latency for result in found if result.latency]
        control = [result.control for result in found if result.control]
        if deltas and control:
            medians = [spread.median_ms for spread in deltas]
            cells = [
                f"{streams:,}",
                f"**{statistics.median(medians):.2f}** {_range(medians)}",
                f"{statistics.median(spread.p90_ms for spread in deltas):.2f}",
                f"{statistics.median(spread.p99_ms for spread in deltas):.2f}",
                f"{statistics.median(spread.median_ms for spread in control):.2f}",
                f"{statistics.median(spread.p99_ms for spread in control):.2f}",
            ]
            rows.append("| " + " | ".join(cells) + " |")
    return rows


def _bars(groups: Groups) -> list[str]:
    rows = list(BARS)
    for streams, most_us in MOST_CPU_US.items():
        if ours := groups.get((streams, OURS)):
            found_us = middle(ours, lambda r: r.cpu_us)
            rows.append(
                bar(f"us a delta, {streams:,} streams", most_us, found_us, found_us <= most_us)
            )
            if peer := groups.get((streams, PEER)):
                factor = middle(peer, lambda r: r.cpu_us) / found_us
                name = f"times below `{PEER}`, {streams:,} streams"
                rows.append(bar(name, LEAST_FACTOR, round(factor, 1), factor >= LEAST_FACTOR))
    spreads = [result.latency for result in groups.get((LATENCY_STREAMS, OURS), [])]
    if unfinished := sum(result.unfinished for result in _of(groups, OURS)):
        rows.append(bar("jobs left unfinished, all runs", 0, unfinished, held=False))
    if medians := [spread.median_ms for spread in spreads if spread]:
        found_ms = statistics.median(medians)
        name = f"ms of latency, median, {LATENCY_STREAMS} streams"
        rows.append(bar(name, MOST_LATENCY_MS, found_ms, found_ms < MOST_LATENCY_MS))
    return rows


def _of(groups: Groups, system: str) -> list[Result]:
    return [result for found in groups.values() for result in found if result.system == system]


def _range(numbers: Iterable[float]) -> str:
    found = list(numbers)
    return f"({min(found):g}-{max(found):g})"
