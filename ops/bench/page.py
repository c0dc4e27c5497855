"""The results page, made of what the benchmarks have handed in.

Some of them have pages of their own beside it, to which it leads.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from ops.bench.reported import Bar, Report
from ops.bench.tables import table

HERE = Path(__file__).parent
# All benchmarks, in the order of the page: each is `python -m ops.bench.<name>`.
NAMES = ("deltas", "latency", "memory", "jobs", "start", "batch", "gateway", "limits")
OWN_PAGES = ("batch", "gateway", "limits")


def hand_in(report: Report) -> None:
    """Print it, and keep it for the results page."""
    report.keep()
    sys.stdout.write(f"\n{own_page(report)}")


def publish(reports: Sequence[Report], folder: Path = HERE) -> None:
    """Write the results page, and the pages of those that have one of their own."""
    for report in reports:
        if report.name in OWN_PAGES:
            (folder / _file(report)).write_text(own_page(report))
    (folder / "RESULTS.md").write_text(results_page(reports))


def results_page(reports: Sequence[Report]) -> str:
    """All bars in one table, and each benchmark's section."""
    lines = ["# What it costs, and how fast it is", ""]
    lines += ["Made by `python -m ops.bench`, which is `make bench`. The numbers themselves and"]
    lines += ["the charts (SVG) are in ops/bench/out then.", ""]
    shared = _shared(reports)
    lines += [f"- {name}: {value}" for name, value in shared.items()]
    if missing := [name for name in NAMES if name not in {report.name for report in reports}]:
        lines += [f"- not run: {', '.join(missing)}"]
    missed = sum(not bar.held for report in reports for bar in report.bars)
    count = sum(len(report.bars) for report in reports)
    lines += [
        "",
        f"Of {count} bars {count - missed} are held. What stands in the way of the others, and",
    ]
    lines += ["what was tried, is in [PROFILE.md](PROFILE.md).", ""]
    rows = [[report.name, *_cells(bar)] for report in reports for bar in report.bars]
    lines += table(["", "bar", "at most or least", "found", ""], rows)
    for report in reports:
        lines += ["", f"## {report.title}", ""]
        if report.name in OWN_PAGES:
            lines += [f"Has [a page of its own]({_file(report)})."]
        else:
            lines += _section(report, shared)
    return "\n".join(lines) + "\n"


def own_page(report: Report) -> str:
    """The benchmark's results by themselves."""
    lines = [f"# {report.title}", "", *_section(report, {}), ""]
    lines += table(["bar", "at most or least", "found", ""], map(_cells, report.bars))
    return "\n".join(lines) + "\n"


def _section(report: Report, said: dict[str, str]) -> list[str]:
    said_runs = "one run"
    if report.runs > 1:
        said_runs = f"medians of {report.runs} runs, the lowest and the highest in brackets"
    lines = [f"Made by `{report.command}`; {said_runs}.", ""]
    about = [f"- {name}: {value}" for name, value in report.machine.items() if name not in said]
    return [*lines, *about, *([""] if about else []), report.body]


def _shared(reports: Sequence[Report]) -> dict[str, str]:
    """What all of them say alike of the machine."""
    all_said = [report.machine for report in reports]
    if not all_said:
        return {}
    first, *others = all_said
    return {
        name: value
        for name, value in first.items()
        if all(other.get(name) == value for other in others)
    }


def _cells(bar: Bar) -> list[str]:
    limit = f"{'at most' if bar.at_most else 'at least'} {bar.limit:,g}"
    return [bar.name, limit, f"{bar.found:,g}", "held" if bar.held else "**missed**"]


def _file(report: Report) -> str:
    return f"RESULTS-{report.name}.md"
