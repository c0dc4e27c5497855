"""How far a batch is, in words and numbers."""

from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime

import msgspec

from models import Batch, BatchStatus
from worker.batch.report import words
from worker.batch.windows import FAR, RunWindow
from worker.store import Recent, Tally

# What is going on, by the batch's status.
PHASES = {
    BatchStatus.VALIDATING: "validating",
    BatchStatus.IN_PROGRESS: "running",
    BatchStatus.FINALIZING: "finalizing",
    BatchStatus.CANCELLING: "cancelling",
}
# Over so many seconds the rate is taken.
RATE_S = 30.0
# Of strangers' messages so many characters are shown.
MESSAGE = 300
# Faults that people are shown.
FAULTS = 20


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """A batch at one moment.

    Attributes:
        phase: what is going on, and why nothing is; strangers' words in it are cleaned.
        total: rows; 0 until the file is read.
        tokens: as the upstreams count them, in and out.
        cost: None where nothing has a price.
        failures: failed rows by category. Rows that have failed just now are not in it yet.
    """

    id: str
    status: BatchStatus
    phase: str
    total: int
    completed: int
    failed: int
    tokens: int
    cost: float | None
    max_cost: float | None
    failures: Mapping[str, int]

    @property
    def done(self) -> int:
        """Rows that have ended."""
        return self.completed + self.failed


def progress_of(batch: Batch, recent: Recent | None, now: datetime) -> Progress:
    """The batch as it is.

    Args:
        batch: its row.
        recent: what its tally lacks; None where it has ended.
        now: the moment; aware.
    """
    tally, recent = Tally.of(batch.tally), recent or Recent()
    return Progress(
        id=batch.id,
        status=BatchStatus(batch.status),
        phase=phase_of(batch, now),
        total=batch.total,
        completed=tally.completed + recent.completed,
        failed=tally.failed + recent.failed,
        tokens=tally.input_tokens + tally.output_tokens,
        cost=tally.cost + recent.cost if tally.priced or recent.cost else None,
        max_cost=batch.max_cost,
        failures=tally.categories,
    )


def phase_of(batch: Batch, now: datetime) -> str:
    """What is going on: the status in words, or why nothing is begun and until when."""
    status = BatchStatus(batch.status)
    if batch.paused_at is not None and not status.terminal:
        return _paused(batch)
    if status == BatchStatus.IN_PROGRESS and batch.run_window:
        window = RunWindow.parse(batch.run_window, "run_window")
        if not window.is_open(now):
            return f"outside its run window, which opens {_moment(window.opens_at(now))}"
    return PHASES.get(status, status.value)


def _paused(batch: Batch) -> str:
    until = "" if batch.paused_until is None else f" until {_moment(batch.paused_until)}"
    why = f" ({batch.pause_reason})" if batch.pause_reason else ""
    said = f": {cleaned(batch.pause_message)}" if batch.pause_message else ""
    return f"paused{until}{why}{said}"


def _moment(at: datetime) -> str:
    return "never" if at >= FAR else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def cleaned(text: str) -> str:
    """A stranger's text as one line that a terminal may get."""
    return words.shortened(words.plain(text), MESSAGE)


def spent(progress: Progress) -> list[str]:
    """Tokens, cost and failures, each where there are any."""
    said = [words.counted(progress.tokens, "token")] if progress.tokens else []
    if progress.max_cost is not None:
        said.append(f"cost {words.money(progress.cost or 0.0)} of {words.money(progress.max_cost)}")
    elif progress.cost is not None:
        said.append(f"cost {words.money(progress.cost)}")
    if progress.failed:
        said.append(f"{progress.failed:,} failed{_by_category(progress.failures)}")
    return said


def _by_category(failures: Mapping[str, int]) -> str:
    most_first = sorted(failures.items(), key=lambda item: -item[1])
    named = ", ".join(f"{category} {count:,}" for category, count in most_first)
    return f" ({named})" if named else ""


def fault_lines(batch: Batch) -> Iterator[str]:
    """What is wrong with the batch's file, one line each, the first so many."""
    faults = batch.errors or []
    for fault in faults[:FAULTS]:
        line = f"line {fault['line']}: " if fault.get("line") is not None else ""
        yield f"{line}{fault.get('code')}: {cleaned(str(fault.get('message')))}"
    if len(faults) > FAULTS:
        yield f"and {len(faults) - FAULTS:,} more: deltaworks batch status {batch.id} --json"


class Pace:
    """How fast rows end, over the last half minute."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, at_s: float, done: int) -> None:
        """So many rows had ended by then, in seconds of any clock."""
        if self._seen and self._seen[-1][1] == done == 0:
            self._seen.clear()  # how long the first row took says little of the others
        self._seen.append((at_s, done))
        while len(self._seen) > 2 and self._seen[1][0] <= at_s - RATE_S:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Rows per second; 0 where nothing is known yet."""
        if len(self._seen) < 2:
            return 0.0
        (began_s, before), (at_s, done) = self._seen[0], self._seen[-1]
        return max(done - before, 0) / (at_s - began_s) if at_s > began_s else 0.0

    def left_s(self, rows: int) -> float | None:
        """How long so many rows will take; None where nobody can say."""
        return rows / self.rate if self.rate > 0 else None
