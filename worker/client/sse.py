"""Server-sent events out of bytes, at any split of the bytes.

The rules are those of the WHATWG HTML standard, "Interpreting an event stream". The worker's
decoder for upstreams departs from them, knows no ids, and would bring msgspec along.
"""

from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"


class ServerEvent(NamedTuple):
    """One event as it was dispatched; `id` is the last one that was set."""

    type: str
    data: str
    id: str


class Decoder:
    """Turns the bytes of one response into events. What its end leaves incomplete is dropped.

    Attributes:
        retry_s: the last `retry:` hint, in seconds; None where there was none.
    """

    def __init__(self) -> None:
        self.retry_s: float | None = None
        self._line = bytearray()  # the line whose end has not come
        self._first = True  # before the end of the first line: it may begin with a BOM
        self._after_cr = False  # an LF that comes now belongs to the CR before it
        self._type = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[ServerEvent]:
        """The events that `data` completes."""
        if not data:
            return []
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        *ends, rest = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        events = []
        for end in ends:
            self._line += end
            events += self._read(bytes(self._line))
            self._line.clear()
        self._line += rest
        return events

    def _read(self, line: bytes) -> list[ServerEvent]:
        if self._first:
            line = line.removeprefix(_BOM)
            self._first = False
        if not line:
            return self._dispatch()
        name, _, value = line.decode("utf-8", "replace").partition(":")
        self._take(name, value.removeprefix(" "))
        return []

    def _take(self, name: str, value: str) -> None:
        match name:
            case "data":
                self._data.append(value)
            case "event":
                self._type = value
            case "id" if "\0" not in value:
                self._id = value
            case "retry" if value.isascii() and value.isdecimal():
                self.retry_s = int(value[:9]) / 1000

    def _dispatch(self) -> list[ServerEvent]:
        data, type = self._data, self._type
        self._data, self._type = [], ""
        return [ServerEvent(type or "message", "\n".join(data), self._id)] if data else []
