"""An upload's form, read while it comes: the file goes to the storage, the fields are checked."""

import logging

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from worker.errors import InvalidRequest, Unknown
from worker.files.storage import Writable
from worker.gateway.body import too_large
from worker.gateway.refusals import Refusal
from worker.text import repair

# It warns of each broken body. Whoever sent that is told, and nobody else needs to know.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

FILE, PURPOSE = "file", "purpose"
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
FIELDS = (PURPOSE, FILE, ANCHOR, SECONDS)
PURPOSES, ANCHORS = ("batch",), ("created_at",)
# How long a file may be told to live; seconds.
LEAST_LIFE_S, MOST_LIFE_S = 3_600, 2_592_000
MOST_FILENAME = 255
# A field's value is a word or a number.
MOST_FIELD_BYTES = 256
# What a form needs besides its file's content: boundaries, heads of parts, fields.
FORM_BYTES = 64 * 1024


class Upload(Struct, frozen=True):
    """What a form said. `life_s` is in seconds from now; None where it names no time."""

    filename: str
    purpose: str
    bytes: int
    life_s: int | None


class Form:
    """A form that is fed in pieces. Every method blocks as long as the file's `write` does.

    Args:
        boundary: what stands between its parts.
        file: where the file's content goes.
        most: bytes the content may have.
    """

    def __init__(self, boundary: bytes, file: Writable, most: int) -> None:
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._head_name,
                    "on_header_value": self._head_value,
                    "on_header_end": self._head_line,
                    "on_headers_finished": self._head_ends,
                    "on_part_data": self._data,
                    "on_part_end": self._part_ends,
                    "on_end": self._end,
                },
            )
        except FormParserError:
            raise _broken("its boundary is too long") from None
        self._file = file
        self._most = most
        self._fields: dict[str, str] = {}
        self._filename: str | None = None
        self._bytes = 0
        self._whole = False

    def feed(self, piece: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            InvalidRequest: a field at fault, by its name.
            Refusal: 400 where this is no form, 413 where the file is too large.
            StorageAway: the content cannot be written.
        """
        try:
            self._parser.write(piece)
        except FormParserError:
            raise _broken("a boundary or a part's head is not what it should be") from None

    def end(self) -> Upload:
        """What the form said; the body is over.

        Raises:
            InvalidRequest: a field is missing.
            Refusal: 400 where its last boundary is.
        """
        if not self._whole:
            raise _broken("it ends before its last boundary")
        if self._filename is None:
            raise InvalidRequest(FILE, "is missing", "send the file in this field")
        if PURPOSE not in self._fields:
            raise InvalidRequest(PURPOSE, "is missing", f"send {' or '.join(PURPOSES)}")
        for name, other in ((ANCHOR, SECONDS), (SECONDS, ANCHOR)):
            if name in self._fields and other not in self._fields:
                raise InvalidRequest(other, "is missing", f"send it with {name}, or neither")
        seconds = self._fields.get(SECONDS)
        return Upload(
            self._filename,
            self._fields[PURPOSE],
            self._bytes,
            None if seconds is None else int(seconds),
        )

    def _begin(self) -> None:
        self._head: dict[str, bytes] = {}
        self._line_name = self._line_value = b""
        self._name = ""
        self._value = b""

    def _head_name(self, data: bytes, start: int, end: int) -> None:
        self._line_name += data[start:end]

    def _head_value(self, data: bytes, start: int, end: int) -> None:
        self._line_value += data[start:end]

    def _head_line(self) -> None:
        self._head[self._line_name.decode("latin-1").lower()] = self._line_value
        self._line_name = self._line_value = b""

    def _head_ends(self) -> None:
        """The part's head is whole: it says which field it is."""
        kind, options = parse_options_header(self._head.get("content-disposition"))
        name = _text(options.get(b"name", b""))
        if kind != b"form-data" or not name:
            raise _broken("one of its parts has no name")
        if name not in FIELDS:
            raise Unknown(name[:40], "is no field of an upload", f"send {', '.join(FIELDS)}")
        if name in self._fields or (name == FILE and self._filename is not None):
            raise InvalidRequest(name, "is there twice", "send it once")
        self._name = name
        if name == FILE:
            self._filename = _filename(_text(options.get(b"filename", b"")))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._name == FILE:
            self._bytes += end - start
            if self._bytes > self._most:
                raise too_large(FILE, self._most)
            self._file.write(data[start:end])
            return
        self._value += data[start:end]
        if len(self._value) > MOST_FIELD_BYTES:
            raise InvalidRequest(self._name, f"has more than {MOST_FIELD_BYTES} bytes", "send less")

    def _part_ends(self) -> None:
        """A field is refused here, and not at the form's end: a large file may come after it."""
        if self._name != FILE:
            value = _text(self._value)
            _check(self._name, value)
            self._fields[self._name] = value

    def _end(self) -> None:
        self._whole = True


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts of a form.

    Raises:
        Refusal: 415 for another type, 400 where there is no boundary.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        raise Refusal(
            415, f"content-type: is {content_type[:40]!r}; send multipart/form-data",
            code="unsupported_type",
        )  # fmt: skip
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _broken("the content-type names no boundary")
    return boundary


def _check(name: str, value: str) -> None:
    words = {PURPOSE: PURPOSES, ANCHOR: ANCHORS}.get(name)
    if words is not None and value not in words:
        raise InvalidRequest(name, f"is {value[:40]!r}", f"use {' or '.join(words)}")
    if name == SECONDS:
        fits = value.isascii() and value.isdecimal() and len(value) <= len(str(MOST_LIFE_S))
        if not fits or not LEAST_LIFE_S <= int(value) <= MOST_LIFE_S:
            remedy = f"give {LEAST_LIFE_S} to {MOST_LIFE_S}"
            raise InvalidRequest(name, f"is {value[:40]!r}", remedy)


def _filename(given: str) -> str:
    """The last part of what may be a path, of the client's system or of another."""
    name = repair(given).replace("\\", "/").rpartition("/")[2][:MOST_FILENAME]
    if not name:
        raise InvalidRequest(FILE, "has no filename", "send it as a file, by its name")
    return name


def _text(given: bytes) -> str:
    return given.decode("utf-8", "replace")


def _broken(problem: str) -> Refusal:
    return Refusal(
        400, f"the body is no whole form: {problem}; send multipart/form-data", code="invalid_form"
    )
