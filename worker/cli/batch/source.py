"""What a batch is read from: JSONL or prompts, from a file or from standard input."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from worker.batch.lines import BYTE_ORDER_MARK
from worker.cli.batch.prompts import Form
from worker.cli.document import STDIN
from worker.errors import InvalidRequest
from worker.files.storage import Writable

# Of JSONL, which is passed on as it is, so much is read at a time.
PIECE = 1 << 20
# Of a line that tells what the file is, so much is looked at.
LOOK = 32 * PIECE


class Head(msgspec.Struct, frozen=True):
    """The beginning of a file.

    Attributes:
        blank: so many blank lines come first.
        line: the first other one, or its first 32 MB.
        row: what it holds, if it is a JSON object.
    """

    blank: int
    line: bytes
    row: dict[str, object] | None

    @property
    def is_row(self) -> bool:
        """Whether it is the first row of a batch's file, beyond doubt."""
        return self.row is not None and "body" in self.row

    @property
    def is_object(self) -> bool:
        """Whether it begins like an object, whole or not."""
        return self.line.lstrip().startswith(b"{")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file, or standard input for `-`.

    Raises:
        InvalidRequest: it cannot be read.
    """
    if path == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = path.open("rb")
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise InvalidRequest("FILE", problem, "name a file, or - for standard input") from None
    with file:
        yield file


def head_of(file: BinaryIO) -> Head:
    """The file's beginning, which is read.

    Raises:
        InvalidRequest: there is nothing but blank lines.
    """
    blank = 0
    line = file.readline(LOOK).removeprefix(BYTE_ORDER_MARK)
    while line and not line.strip():
        blank += line.endswith(b"\n")
        line = file.readline(LOOK)
    if not line:
        raise InvalidRequest("FILE", "is empty", "write a request, or a prompt, on each line")
    try:
        row = msgspec.json.decode(line, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        row = None
    return Head(blank, line, row)


def copy(head: Head, file: BinaryIO, into: "Counted") -> None:
    """Pass JSONL on as it is. Blocks.

    Raises:
        InvalidRequest: it is too large.
        StorageAway: it cannot be written.
    """
    # Blank lines, too: what is wrong with the file is told by lines of this one.
    into.write(b"\n" * head.blank + head.line)
    while piece := file.read(PIECE):
        into.write(piece)


def convert(head: Head, file: BinaryIO, form: Form, into: "Counted", most: int) -> None:
    """Make a row of each prompt. Blocks.

    Args:
        head: its beginning, which is read already.
        file: the rest.
        form: of the rows.
        into: takes them.
        most: bytes of a prompt.

    Raises:
        InvalidRequest: a line is too long or no UTF-8, or the whole is too large.
        StorageAway: it cannot be written.
    """
    number, line = head.blank, head.line
    if len(line) == LOOK and not line.endswith(b"\n"):
        line += file.readline(max(most - LOOK, 0) + 1)
    while line:
        number += 1
        if line.strip():
            into.write(form.line(number, prompt_of(number, line, most)))
        line = file.readline(most + 1)


def prompt_of(number: int, line: bytes, most: int) -> str:
    """The prompt on a line: all but its line end.

    Raises:
        InvalidRequest: it has too many bytes, or is no UTF-8.
    """
    if len(line) > most:
        problem = f"has more than {most:,} bytes in line {number:,}"
        raise InvalidRequest("FILE", problem, "give each prompt a line of its own")
    try:
        return line.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise InvalidRequest("FILE", f"is no UTF-8 in line {number:,}", "convert it") from None


class Counted:
    """Takes a content up to a size.

    Args:
        file: what takes it in the end.
        most: bytes.

    Attributes:
        bytes: so many by now.
    """

    def __init__(self, file: Writable, most: int) -> None:
        self._file = file
        self._most = most
        self.bytes = 0

    def write(self, piece: bytes) -> None:
        """Take a piece of it.

        Raises:
            InvalidRequest: it is too large.
            StorageAway: it cannot be written.
        """
        self.bytes += len(piece)
        if self.bytes > self._most:
            problem = f"makes a content of more than {self._most:,} bytes"
            raise InvalidRequest("FILE", problem, "split it, or raise DELTAWORKS_MAX_FILE_BYTES")
        self._file.write(piece)
