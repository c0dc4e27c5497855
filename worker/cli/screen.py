"""Standard output and standard error, where both may be the same terminal."""

import re
import sys
from typing import TextIO

import msgspec
from rich.console import Console
from rich.text import Text

# What a model writes must not move the cursor, set the title or answer for the user.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text as a terminal may get it: no control characters but tab and line feed."""
    return _CONTROLS.sub("\ufffd", text.replace("\r\n", "\n"))


def print_json(document: object) -> None:
    """One JSON document as a line on standard output."""
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


class Screen:
    """Writes text to standard output and all else to standard error, each on lines of its own.

    Attributes:
        live: whether standard output is a terminal, so that text may be shown as it comes.
        watched: whether standard error is one.
    """

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self._errors = Console(stderr=True, highlight=False, soft_wrap=True)
        self.watched = self._errors.is_terminal
        # The terminal's stream whose last line is not ended yet.
        self._unended: TextIO | None = None

    def write(self, text: str) -> None:
        """Show a piece of text on the terminal that is standard output."""
        self._turn_to(sys.stdout)
        sys.stdout.write(printable(text))
        sys.stdout.flush()
        self._note_end(sys.stdout, text)

    def aside(self, text: str) -> None:
        """Show a piece of what is no text (reasoning, a refusal) on standard error, dim."""
        self._turn_to(sys.stderr)
        self._errors.print(Text(printable(text), "dim"), end="")
        self._note_end(sys.stderr, text)

    def line(self, message: str, style: str = "") -> None:
        """A line on standard error."""
        self.end_line()
        self._errors.print(Text(printable(message), style))

    def rule(self, message: str) -> None:
        """A line across the terminal that is standard output."""
        self.end_line()
        Console(highlight=False).rule(Text(message, "yellow"), style="yellow")

    def save(self, text: str) -> None:
        """The text to standard output, exactly: no line end is added, nothing is translated."""
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()

    def end_line(self) -> None:
        """Begin a new line, unless the terminal is at the start of one."""
        if self._unended is not None:
            self._unended.write("\n")
            self._unended.flush()
            self._unended = None

    def _turn_to(self, stream: TextIO) -> None:
        if self._unended is not stream:
            self.end_line()

    def _note_end(self, stream: TextIO, text: str) -> None:
        if text:
            self._unended = None if text.endswith("\n") else stream
