"""Server-sent events out of bytes, at any split of the bytes.

The rules are those of the WHATWG HTML standard, "Interpreting an event stream", with two
differences made for upstreams. A block that the end of the body leaves undispatched is handed
out where it is whole (`Event.pending`). And a field named `error` that holds a JSON object is
an error event: llama.cpp servers before pull request 16109 (September 2025) send errors so.
"""

import msgspec

from worker.errors import Category, UpstreamError
from worker.stream.documents import is_container

DONE_DATA = b"[DONE]"
ERROR_TYPE = b"error"
# The largest legal events are base64 audio and whole completions; none has been seen over 1 MiB.
MAX_EVENT_BYTES = 4 * 1024 * 1024

_BOM = b"\xef\xbb\xbf"


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event: its data, and its type (None: `message`, the default).

    `pending`: the body ended before the blank line that dispatches the event. What it says may
    be used; it never proves that the stream is complete.
    """

    data: bytes
    type: bytes | None = None
    pending: bool = False


def too_large(limit: int) -> UpstreamError:
    """The error for an event, or a whole JSON body, of more than `limit` bytes."""
    return UpstreamError(
        Category.TRUNCATED,
        code="event_too_large",
        status=200,
        message=f"the upstream sent an event of more than {limit} bytes",
    )


class EventDecoder:
    """Turns the bytes of one body into events.

    Every byte is looked at once, and copied at most twice, however the body is split.
    `max_event_bytes` bounds a line, and the data lines of one event together.
    """

    __slots__ = ("_after_cr", "_data", "_data_bytes", "_line", "_max", "_start", "_type")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._start: bytes | None = b""  # what may yet turn out to be a BOM; None: decided
        self._after_cr = False
        self._line = bytearray()  # a line whose end has not come; appending is amortised O(1)
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._type: bytes | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: an event is larger than the cap (truncated/event_too_large).
        """
        if self._start is not None:
            data = self._without_bom(data)
        if self._is_plain(data):
            return [Event(data[6:-2])]
        if self._after_cr or b"\r" in data:
            data = self._with_lf_only(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line.clear()
        events = self._read(lines) if lines else []
        if rest:
            self._line += rest
            if len(self._line) > self._max:
                raise too_large(self._max)
        return events

    def _is_plain(self, data: bytes) -> bool:
        """Whether that is one whole event of one line, `data: ...`, and nothing is pending: as
        almost all that a read brings. The general way takes three times as long to it.
        """
        return (
            data.startswith(b"data: ")
            and data.endswith(b"\n\n")
            and data.find(b"\n") == len(data) - 2
            and len(data) < self._max
            and not (self._line or self._data or self._after_cr or self._type)
            and b"\r" not in data
        )

    def flush(self) -> list[Event]:
        """What the end of the body leaves, as pending events: only a whole `[DONE]` or JSON."""
        left = self._read([bytes(self._line), b""] if self._line else [b""])
        return [
            Event(event.data, event.type, pending=True)
            for event in left
            if event.data.strip() == DONE_DATA or is_container(event.data)
        ]

    def _without_bom(self, data: bytes) -> bytes:
        assert self._start is not None
        head = self._start + data
        if len(head) < len(_BOM) and _BOM.startswith(head):
            self._start = head
            return b""
        self._start = None
        return head.removeprefix(_BOM)

    def _with_lf_only(self, data: bytes) -> bytes:
        """CR and CRLF as LF. A CR ends its line at once; an LF after it may come with the next."""
        if not data:
            return data
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, lines: list[bytes]) -> list[Event]:
        # The loop that every delta of every stream passes: locals, and the common lines first.
        events: list[Event] = []
        values = self._data
        for line in lines:
            if not line:
                if values:
                    data = values[0] if len(values) == 1 else b"\n".join(values)
                    events.append(Event(data, self._type))
                    values.clear()
                    self._data_bytes = 0
                self._type = None
            elif line.startswith(b"data:"):
                self._append(line[6:] if line.startswith(b" ", 5) else line[5:])
            else:
                self._read_field(line, events)
        return events

    def _append(self, value: bytes) -> None:
        self._data_bytes += len(value) + 1
        if self._data_bytes > self._max:
            raise too_large(self._max)
        self._data.append(value)

    def _read_field(self, line: bytes, events: list[Event]) -> None:
        if len(line) > self._max:
            raise too_large(self._max)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._append(value)
        elif name == b"event":
            self._type = None if value in (b"", b"message") else value
        elif name == b"error" and value.startswith(b"{"):
            events.append(Event(value, ERROR_TYPE))
