"""Gathers a report's figures: one pass over the rows, of which none is kept."""

import bisect
import heapq
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from models import ANSWERED, Batch, BatchStatus
from worker.batch.report.figures import Cause, Figures, Moment, RowFigures, Spread
from worker.store import Store, Tally
from worker.usage import OUTPUT, count

PORTION = 1_000
# What people read of a list.
SLOWEST, FAILED = 20, 200
PERCENTILES = (50, 90, 95, 99, 100)
# Upper bounds of the histograms' buckets, in seconds.
BOUNDS = (
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0,
    1800.0, 3600.0, 86400.0, float("inf"),
)  # fmt: skip
# Stretches of a timeline: these, and at most so many.
STRETCHES_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 86400)
MOST_STRETCHES = 120
ENDED = ("completed_at", "expired_at", "cancelled_at", "failed_at")


async def gather(store: Store, batch: Batch) -> Figures:
    """What the batch came to by now."""
    sums = Sums(batch.in_progress_at or batch.created_at)
    async for rows in _rows(store, batch):
        attempts: dict[str, list[Any]] = {}
        for each in await store.reporting.attempts([row.id for row in rows]):
            attempts.setdefault(each.job_id, []).append(each)
        for row in rows:
            sums.add(row, attempts.get(row.id, ()))
    return _figures(batch, sums)


async def _rows(store: Store, batch: Batch) -> AsyncIterator[Sequence[Any]]:
    place = (-1, 0)
    while rows := await store.reporting.rows(batch.id, place, PORTION):
        yield rows
        place = rows[-1].batch_row, rows[-1].generation


class Sums:
    """What is known after so many rows."""

    def __init__(self, began_at: datetime) -> None:
        self._began_at = began_at
        self.tally = Tally()
        self.attempts = 0
        self.took, self.first_token = array("d"), array("d")
        # Completed and failed rows by the second, since the beginning, in which they ended.
        self.completed: Counter[int] = Counter()
        self.failed: Counter[int] = Counter()
        self.failures: Counter[tuple[str, str | None]] = Counter()
        self.retries: Counter[tuple[str, str | None]] = Counter()
        self._slowest: list[tuple[float, int, RowFigures]] = []
        self.failed_rows: list[RowFigures] = []

    @property
    def slowest(self) -> list[RowFigures]:
        """The rows that took longest, the slowest first."""
        return [row for _, _, row in sorted(self._slowest, reverse=True)]

    def add(self, row: Any, attempts: Sequence[Any]) -> None:
        """Count a row and its requests."""
        self.tally.add(row)
        self.attempts += len(attempts)
        is_done = row.state in ANSWERED
        # An attempt that has an error is given up, unless it is the end of a row that failed.
        last = None if is_done or row.superseded else row.attempt
        for each in attempts:
            if each.error_category is not None and each.number != last:
                self.retries[each.error_category, each.error_code] += 1
        if row.superseded:
            return
        second = max(int((row.finished_at - self._began_at).total_seconds()), 0)
        (self.completed if is_done else self.failed)[second] += 1
        if not is_done:
            self.failures[row.error_category or row.state, row.error_code] += 1
        self._time(row, attempts)

    def _time(self, row: Any, attempts: Sequence[Any]) -> None:
        took_s = None
        if row.started_at is not None:
            took_s = (row.finished_at - row.started_at).total_seconds()
            self.took.append(took_s)
        if attempts and (first := attempts[-1].first_delta_at) is not None:
            self.first_token.append((first - attempts[-1].started_at).total_seconds())
        figures = _row(row, took_s, len(attempts))
        if row.state not in ANSWERED and len(self.failed_rows) < FAILED:
            self.failed_rows.append(figures)
        if took_s is not None:
            entry = (took_s, row.batch_row, figures)
            if len(self._slowest) < SLOWEST:
                heapq.heappush(self._slowest, entry)
            elif took_s > self._slowest[0][0]:
                heapq.heapreplace(self._slowest, entry)


def _figures(batch: Batch, sums: Sums) -> Figures:
    tally = sums.tally
    ended = (getattr(batch, name) for name in ENDED)
    stretch_s, timeline = _timeline(sums.completed, sums.failed)
    return Figures(
        id=batch.id,
        status=batch.status,
        endpoint=batch.endpoint,
        model=batch.model,
        metadata=batch.labels or {},
        pause=_pause(batch),
        created_at=batch.created_at,
        began_at=batch.in_progress_at,
        ended_at=next((moment for moment in ended if moment is not None), None),
        total=batch.total,
        completed=tally.completed,
        failed=tally.failed,
        attempts=sums.attempts,
        input_tokens=tally.input_tokens,
        cached_tokens=tally.cached_tokens,
        output_tokens=tally.output_tokens,
        reasoning_tokens=tally.reasoning_tokens,
        cost=tally.cost if tally.priced else None,
        max_cost=batch.max_cost,
        stretch_s=stretch_s,
        timeline=timeline,
        started=_spread(sums.took),
        first_token=_spread(sums.first_token),
        failures=_causes(sums.failures),
        retries=_causes(sums.retries),
        slowest=sums.slowest,
        failed_rows=sums.failed_rows,
    )


def _pause(batch: Batch) -> str | None:
    if batch.paused_at is None or BatchStatus(batch.status).terminal:
        return None
    until = batch.paused_until
    said = batch.pause_message or str(batch.pause_reason)
    return said if until is None else f"{said} (until {until.astimezone(UTC):%Y-%m-%d %H:%M} UTC)"


def _row(row: Any, took_s: float | None, attempts: int) -> RowFigures:
    return RowFigures(
        row=row.batch_row,
        custom_id=row.custom_id,
        job=row.id,
        state=row.state,
        took_s=took_s,
        attempts=attempts,
        tokens=count(row.usage, *OUTPUT),
        category=row.error_category,
        code=row.error_code,
        status=row.error_status,
        message=row.error_message,
    )


def _timeline(
    completed: Mapping[int, int], failed: Mapping[int, int]
) -> tuple[float, Sequence[Moment]]:
    last = max([*completed, *failed], default=-1)
    fitting = (each for each in STRETCHES_S if last < each * MOST_STRETCHES)
    stretch = next(fitting, STRETCHES_S[-1])
    sums = [[0, 0] for _ in range(last // stretch + 1)]
    for kind, counts in enumerate((completed, failed)):
        for second, ended in counts.items():
            sums[second // stretch][kind] += ended
    return float(stretch), [
        Moment(float(place * stretch), *pair) for place, pair in enumerate(sums)
    ]


def _spread(took: "array[float]") -> Spread:
    ordered = sorted(took)
    counts = [0] * len(BOUNDS)
    for seconds in ordered:
        counts[bisect.bisect_left(BOUNDS, seconds)] += 1
    last = len(ordered) - 1
    percentiles = {each: ordered[round(last * each / 100)] for each in PERCENTILES if ordered}
    return Spread(len(ordered), percentiles, list(zip(BOUNDS, counts, strict=True)))


def _causes(counts: Counter[tuple[str, str | None]]) -> Sequence[Cause]:
    return [Cause(*cause, count) for cause, count in counts.most_common()]
