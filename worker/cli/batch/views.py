"""A batch's progress: a bar on a terminal, a line now and then elsewhere, JSON for programs."""

import sys
import time
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from models import Batch, BatchStatus
from worker.batch.document import batch_object
from worker.batch.report import words
from worker.cli.batch.progress import Pace, Progress, fault_lines, progress_of, spent
from worker.cli.screen import Screen
from worker.store import Recent

# Where no bar is shown, a line comes as often at most while nothing but numbers change.
LINE_S = 10.0
BAR_CELLS = 30
STYLES = {
    BatchStatus.COMPLETED: "green",
    BatchStatus.FAILED: "red",
    BatchStatus.EXPIRED: "red",
    BatchStatus.CANCELLED: "yellow",
}


class View(Protocol):
    """Shows one batch."""

    def show(self, batch: Batch, recent: Recent | None) -> None:
        """The batch as it is now.

        Raises:
            BrokenPipeError: nobody reads what is written.
        """

    def note(self, message: str) -> None:
        """Something about the command itself, for standard error."""

    def close(self) -> None:
        """Nothing more is shown but notes."""


def view(json: bool) -> View:
    """How the batch is shown."""
    screen = Screen()
    if json:
        return JsonLines(screen)
    return Bar() if screen.watched else Lines(screen)


class JsonLines:
    """The batch object as a line at each change."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._last = b""

    def show(self, batch: Batch, recent: Recent | None) -> None:
        """See `View`."""
        line = msgspec.json.encode(batch_object(batch, recent))
        if line != self._last:
            self._last = line
            sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()

    def note(self, message: str) -> None:
        """See `View`."""
        self._screen.line(message)

    def close(self) -> None:
        """See `View`."""


class Lines:
    """A line on standard error where the phase changes, and now and then between."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._pace = Pace()
        self._phase = ""
        self._line = ""
        self._shown_s = 0.0

    def show(self, batch: Batch, recent: Recent | None) -> None:
        """See `View`."""
        progress, now_s = progress_of(batch, recent, datetime.now(UTC)), time.monotonic()
        self._pace.note(now_s, progress.done)
        if progress.status.terminal:
            for line in closing(batch, progress):
                self._screen.line(line)
            return
        line = " · ".join([progress.phase, *_rows(progress, self._pace), *spent(progress)])
        is_due = now_s >= self._shown_s + LINE_S and line != self._line
        if is_due or progress.phase != self._phase:
            self._phase, self._line, self._shown_s = progress.phase, line, now_s
            self._screen.line(line)

    def note(self, message: str) -> None:
        """See `View`."""
        self._screen.line(message)

    def close(self) -> None:
        """See `View`."""


class Bar:
    """A bar at the bottom of the terminal that is standard error, and what is to be said of it."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._pace = Pace()

    def show(self, batch: Batch, recent: Recent | None) -> None:
        """See `View`."""
        progress = progress_of(batch, recent, datetime.now(UTC))
        self._pace.note(time.monotonic(), progress.done)
        if progress.status.terminal:
            self.close()
            style = STYLES[progress.status]
            for line in closing(batch, progress):
                self._console.print(Text(line, style), soft_wrap=True)
                style = ""
            return
        if not self._live.is_started:
            self._live.start()
        said = " · ".join([progress.phase, *spent(progress)])
        self._live.update(Group(self._bar(progress), Text(said, "dim")), refresh=True)

    def note(self, message: str) -> None:
        """See `View`."""
        self._console.print(Text(message), soft_wrap=True)

    def close(self) -> None:
        """See `View`."""
        self._live.stop()

    def _bar(self, progress: Progress) -> Table:
        line = Table.grid(padding=(0, 1))
        total = progress.total or None
        bar = ProgressBar(total, progress.done, width=BAR_CELLS, pulse=total is None)
        line.add_row(bar, Text(" · ".join(_rows(progress, self._pace))))
        return line


def _rows(progress: Progress, pace: Pace) -> list[str]:
    if not progress.total:
        return []
    said = [f"{progress.done:,}/{words.counted(progress.total, 'row')}"]
    if progress.status == BatchStatus.IN_PROGRESS and pace.rate:
        said.append(words.rate(1, 1 / pace.rate))
        left_s = pace.left_s(progress.total - progress.done)
        said.append(f"{words.duration(left_s)} left")
    return said


def closing(batch: Batch, progress: Progress) -> list[str]:
    """What is said of a batch that has ended."""
    said = [progress.status.value]
    if progress.total:
        said.append(f"{progress.completed:,} of {words.counted(progress.total, 'row')} completed")
    ended_at = getattr(batch, f"{batch.status}_at")
    if ended_at is not None:
        said.append(words.duration((ended_at - batch.created_at).total_seconds()))
    return [" · ".join([*said, *spent(progress), batch.id]), *fault_lines(batch)]
