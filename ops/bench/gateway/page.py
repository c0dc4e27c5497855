"""What the benchmark of the gateway hands in: medians, bars, and a chart."""

from collections.abc import Iterator, Sequence

import msgspec

from ops.bench import chart
from ops.bench.gateway import fanout, relayed
from ops.bench.machine import machine
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, middle, table

PACKAGES = ("starlette", "uvicorn", "httptools", "uvloop", "redis", "hiredis", "msgspec")
PEER_PACKAGES = ("litellm", "fastapi", "uvicorn", "openai")
OURS, PEER = "deltaworks", "litellm proxy"
# The bars: KB for an idle reader; milliseconds of latency and how many times less CPU than the
# peer, at so many streams.
MOST_IDLE_KB, MOST_LATENCY_MS, LEAST_FACTOR, STREAMS = 25.0, 3.0, 5.0, 200


def report(
    fans: Sequence[fanout.Result], relays: Sequence[relayed.Result], runs: int, command: str
) -> Report:
    """All of it."""
    by_load = grouped(fans, lambda r: (r.readers, r.jobs))
    by_system = grouped(relays, lambda r: (r.streams, r.system))
    return Report(
        name="gateway",
        title="The gateway: many readers, and chats relayed",
        command=command,
        machine=machine(PACKAGES, "litellm", PEER_PACKAGES),
        runs=runs,
        body="\n".join([*_fanout(by_load), "", *_relayed(by_system)]),
        bars=list(_bars(by_load, by_system)),
        charts={"gateway-relayed.svg": _costs(by_system)},
        results=msgspec.Raw(msgspec.json.encode({"fanout": fans, "relayed": relays})),
    )


def _costs(groups: dict[tuple[int, str], list[relayed.Result]]) -> str:
    values = {
        f"{system}, {streams:,} streams": middle(found, lambda r: r.cpu_us)
        for (streams, system), found in sorted(groups.items())
        if any(result.parts_us for result in found)
    }
    return chart.bars("CPU of a relayed delta", "us a delta", values, log_y=True)


def _fanout(groups: dict[tuple[int, int], list[fanout.Result]]) -> list[str]:
    said = (
        "Readers of live events on one gateway process with a core of its own; medians of the runs."
        "\n`right` are those whose text is the saved one and whose ids rise without a repetition:"
        "\n"
    )
    heads = [
        "readers", "jobs", "right, of all runs", "events/s", "us an event", "events/s a core",
        "core", "KB an idle reader",
    ]  # fmt: skip
    rows = []
    for (readers, jobs), found in sorted(groups.items()):
        cpu_us = middle(found, lambda r: r.cpu_us)
        cells = [
            f"{readers:,}", f"{jobs:,}",
            f"{sum(r.right for r in found):,} of {sum(r.readers for r in found):,}",
            f"{middle(found, lambda r: r.events_per_s):,.0f}", f"**{cpu_us:.1f}**",
            f"{1e6 / cpu_us:,.0f}", f"{middle(found, lambda r: r.core):.0%}",
            f"{middle(found, lambda r: r.idle_kb):.1f}",
        ]  # fmt: skip
        rows.append(cells)
    return [said, *table(heads, rows)]


def _relayed(groups: dict[tuple[int, str], list[relayed.Result]]) -> list[str]:
    said = (
        f"Streamed chats, each of {relayed.RATE:g} deltas a second, from the simulator's write to "
        "the client. CPU is\nthat of all processes of the system (ours: gateway, worker, Redis), "
        "for each delta that reached its\nclient in the window. Where fewer are heard than were "
        "written, the system was at its limit, and the\nsockets before it filled:\n"
    )
    heads = [
        "streams", "system", "us a delta", "of which", "deltas written/s", "heard/s",
        "whole texts", "latency ms median", "p90", "p99",
    ]  # fmt: skip
    rows = []
    for (streams, system), found in sorted(groups.items()):
        parts = [
            f"{name} {middle(found, lambda r, name=name: r.parts_us[name]):.0f}"  # type: ignore[misc]
            for name in found[0].parts_us
        ]
        cells = [
            f"{streams:,}", system, f"**{middle(found, lambda r: r.cpu_us):.0f}**",
            ", ".join(parts),
            f"{middle(found, lambda r: r.written) / relayed.WINDOW_S:,.0f}",
            f"{middle(found, lambda r: r.heard) / relayed.WINDOW_S:,.0f}",
            f"{sum(r.complete for r in found):,} of {sum(r.streams for r in found):,}",
            f"**{middle(found, lambda r: r.latency.median_ms):.2f}**",
            f"{middle(found, lambda r: r.latency.p90_ms):.2f}",
            f"{middle(found, lambda r: r.latency.p99_ms):.2f}",
        ]  # fmt: skip
        rows.append(cells)
    return [said, *table(heads, rows)]


def _bars(
    fans: dict[tuple[int, int], list[fanout.Result]],
    relays: dict[tuple[int, str], list[relayed.Result]],
) -> Iterator[Bar]:
    for (readers, jobs), found in sorted(fans.items()):
        wrong = sum(r.readers - r.right for r in found)
        yield Bar(f"readers of {jobs:,} jobs without the saved text", 0, wrong)
        idle_kb = middle(found, lambda r: r.idle_kb)
        yield Bar(f"KB an idle reader, of {readers:,}", MOST_IDLE_KB, idle_kb)
    ours, peer = relays.get((STREAMS, OURS)), relays.get((STREAMS, PEER))
    if ours:
        median_ms = middle(ours, lambda r: r.latency.median_ms)
        yield Bar(f"ms of latency, median, {STREAMS} streams", MOST_LATENCY_MS, median_ms)
    if ours and peer:
        factor = middle(peer, lambda r: r.cpu_us) / middle(ours, lambda r: r.cpu_us)
        name = f"times less CPU than `{PEER}`, {STREAMS} streams"
        yield Bar(name, LEAST_FACTOR, round(factor, 1), at_most=False)
