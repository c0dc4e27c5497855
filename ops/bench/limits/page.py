"""What the benchmark of limits hands in."""

from collections import Counter
from collections.abc import Sequence

import msgspec

from ops.bench import chart
from ops.bench.limits.loads import INTERACTIVE, WORKERS, Delays, Shared
from ops.bench.machine import machine
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, middle, spread, table

PACKAGES = ("celery", "redis", "sqlalchemy", "httpx", "uvloop")
# The bars: of the requests that an upstream refuses although its limit is known; seconds until an
# interactive job's request is sent.
MOST_REFUSED, MOST_START_S = 0.03, 1.0

EXPLANATION = f"""\
All jobs (interactive) wait when the {WORKERS} workers start. `limiter`: the limit is in the
upstreams file. `cool-downs`: nobody knows it, no headers tell of it, and all workers wait where one
is refused. `alone`: as that, but only the refused job waits, as with a client library's retries.
The share of the limit is that from the end of the first second's worth to the last request served;
its middle leaves out the first and the last tenth, and 98% is what the limiter aims at. Without the
limit nothing is lost here: this upstream names a wait of milliseconds, and refusals cost nothing.
What they cost is those requests, and the part of `throttles` (20 for an interactive job) that a
longer queue would use up.
"""


def report(found: Sequence[Shared | Delays], runs: int, command: str) -> Report:
    """All of it."""
    loads = grouped([r for r in found if isinstance(r, Shared)], lambda r: r.name)
    delays = grouped([r for r in found if isinstance(r, Delays)], lambda r: r.name)
    shares = {name: middle(found, lambda r: r.refused_share) for name, found in loads.items()}
    return Report(
        name="limits",
        title="Limits",
        command=command,
        machine=machine(PACKAGES),
        runs=runs,
        body="\n".join([EXPLANATION, *_loads(loads), "", *_delays(delays)]),
        bars=_bars(loads, delays),
        charts={"limits.svg": chart.bars("Requests refused", "share of all requests", shares)},
        results=msgspec.Raw(msgspec.json.encode(found)),
    )


def _loads(loads: dict[str, list[Shared]]) -> list[str]:
    heads = ["load", "jobs, all runs", "requests", "refused", "share of the limit", "its middle"]
    rows = []
    for name, found in loads.items():
        states = sum((Counter(each.states) for each in found), Counter[str]())
        cells = [name, ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))]
        cells += [spread(found, lambda r: r.requests, ",.0f")]
        cells += [spread(found, lambda r: r.refused_share, ".1%")]
        cells += [spread(found, lambda r: r.share, ".1%"), spread(found, lambda r: r.middle, ".1%")]
        rows.append([*cells, spread(found, lambda r: r.seconds, ".0f")])
    return table([*heads, "seconds"], rows)


def _delays(delays: dict[str, list[Delays]]) -> list[str]:
    rows = []
    for name, found in delays.items():
        cells = [name, f"{sum(len(each.seconds) for each in found):,}"]
        cells += [f"{sum(each.unfinished for each in found)}", spread(found, _median, ".2f")]
        cells += [f"{max(each.seconds[-1] for each in found if each.seconds):.2f}"]
        rows.append([*cells, f"{middle(found, lambda r: r.beside):,.0f} {found[0].what}"])
    return table(["", "jobs", "unfinished", "s, median", "highest", "meanwhile"], rows)


def _bars(loads: dict[str, list[Shared]], delays: dict[str, list[Delays]]) -> list[Bar]:
    bars = []
    if limited := loads.get("limiter"):
        wrong = sum(sum(r.states.values()) - r.states.get("completed", 0) for r in limited)
        bars.append(Bar("jobs not completed with the limiter, all runs", 0, wrong))
        refused = middle(limited, lambda r: r.refused_share)
        bars.append(Bar("share of requests refused with the limiter", MOST_REFUSED, refused))
    if starts := delays.get(INTERACTIVE):
        name = "s until an interactive job's request beside bulk, median"
        bars.append(Bar(name, MOST_START_S, middle(starts, _median)))
    return bars


def _median(found: Delays) -> float:
    return found.median
