"""How a job's events are shown: text for people and pipes, JSON lines for programs."""

import json
import sys
from collections.abc import Sequence
from typing import Protocol

import msgspec

from models import ANSWERED, Attempt, Job, JobState
from worker.channel.events import (
    START,
    ChannelEvent,
    Cursor,
    Delta,
    Retrying,
    Started,
    encode,
)
from worker.cli.screen import Screen
from worker.cli.summary import end_line, stopped
from worker.job_object import job_object

# States whose text is proven.
STYLES = {"completed": "green", "incomplete": "yellow", "failed": "red", "cancelled": "yellow"}


class View(Protocol):
    """Shows one job.

    Attributes:
        cursor: what whoever follows on needs not see again.
    """

    cursor: Cursor

    def show(self, event: ChannelEvent) -> None:
        """The next event.

        Raises:
            BrokenPipeError: nobody reads what is written.
        """

    def finish(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """The job as it has ended.

        Raises:
            BrokenPipeError: nobody reads what is written.
        """

    def leave(self, job: Job) -> None:
        """The job as it is when its reader turns away.

        Raises:
            BrokenPipeError: nobody reads what is written.
        """

    def note(self, message: str) -> None:
        """Something about the command itself, for standard error."""


class JsonLines:
    """One event a line, in the shape of the pub/sub message; the last line is the job object."""

    def __init__(self, screen: Screen) -> None:
        self.cursor = START
        self._screen = screen

    def show(self, event: ChannelEvent) -> None:
        """See `View`."""
        self._print(encode(event))
        self.cursor = event.cursor

    def finish(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """See `View`."""
        self.leave(job)

    def leave(self, job: Job) -> None:
        """See `View`."""
        self._print(msgspec.json.encode(job_object(job, self.cursor)))

    def note(self, message: str) -> None:
        """See `View`."""
        self._screen.line(message)

    def _print(self, line: bytes) -> None:
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()


class Text:
    """The text of choice 0: on a terminal as it comes, elsewhere once its attempt is proven.

    What a pipe has got cannot be taken back, so it gets nothing of an attempt that may be retried.
    """

    def __init__(self, screen: Screen) -> None:
        self.cursor = START
        self._screen = screen
        self._attempt = 0
        self._text: list[str] = []

    def show(self, event: ChannelEvent) -> None:
        """See `View`."""
        match event:
            case Started():
                self._void()
                self._attempt = event.cursor.attempt
                self._screen.line(f"attempt {self._attempt} at {event.upstream}", "dim")
            case Delta():
                self._attempt = event.cursor.attempt
                self._grow(event)
            case Retrying():
                self._void()
                self._screen.line(stopped(event), "yellow")
        if self._screen.live:
            self.cursor = event.cursor

    def finish(self, job: Job, attempts: Sequence[Attempt]) -> None:
        """See `View`."""
        if job.attempt > self._attempt:
            self._void()
        if job.state in ANSWERED and not self._screen.live:
            self._screen.save("".join(self._text))
        output = job.output or []
        self._show_rest(output)
        if len(output) > 1 and not self._screen.live:
            self._screen.line(f"{len(output) - 1} more: deltaworks show {job.id} --json")
        self._screen.line(end_line(job, attempts), STYLES[job.state])
        if job.state == JobState.FAILED and self._text and not self._screen.live:
            self._screen.line(f"its unproven text: deltaworks show {job.id}")

    def leave(self, job: Job) -> None:
        """See `View`."""
        self._screen.end_line()

    def note(self, message: str) -> None:
        """See `View`."""
        self._screen.line(message)

    def _grow(self, delta: Delta) -> None:
        if delta.choice != 0:
            return
        if delta.text:
            self._text.append(delta.text)
            if self._screen.live:
                self._screen.write(delta.text)
        elif self._screen.watched and (aside := delta.reasoning or delta.refusal):
            self._screen.aside(aside)

    def _void(self) -> None:
        if self._text and self._screen.live:
            self._screen.rule("the text above is void")
        self._text.clear()

    def _show_rest(self, output: Sequence[dict[str, object]]) -> None:
        """What was not streamed: refusals in a pipe, tool calls, the other choices."""
        for message in output:
            if message.get("refusal") and not self._screen.watched:
                self._screen.line(f"refused: {message['refusal']}")
            for call in _sequence(message.get("tool_calls")):
                self._screen.line(json.dumps(call, ensure_ascii=False))
            if message.get("index") != 0:
                self._show_choice(message)

    def _show_choice(self, message: dict[str, object]) -> None:
        if self._screen.live:
            self._screen.rule(f"choice {message['index']}")
            self._screen.write(str(message.get("content") or ""))
            self._screen.end_line()


def _sequence(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
