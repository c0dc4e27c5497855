"""What kind of body a response has: an event stream, one JSON document, or a web page.

Its first byte that is not blank decides, never the content-type header: OpenRouter and Gemini
answer a streaming request with a JSON error under HTTP 200, some servers with a whole
completion, and some send proper events under a wrong header or none.
"""

from worker.classify import classify_response
from worker.stream.documents import is_container
from worker.stream.sse import MAX_EVENT_BYTES, Event, EventDecoder, too_large

# A byte order mark counts as blank here; the event decoder strips its own.
_BLANK = b" \t\r\n\xef\xbb\xbf"


class BodyDecoder:
    """Turns the bytes of one response body into events; a JSON document becomes one event.

    Until the first byte that is not blank, the bytes go to the event decoder: to it, blank
    lines (DeepSeek's keep-alive for JSON bodies) mean nothing. `max_event_bytes` also bounds
    the JSON document.
    """

    __slots__ = ("_document", "_events", "_max", "_sniffing")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._events = EventDecoder(max_event_bytes)
        self._sniffing = True
        self._document: bytearray | None = None

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes.

        Raises:
            UpstreamError: the body is a web page (not_event_stream), or an event or the
                document is larger than the cap (truncated/event_too_large).
        """
        if self._sniffing:
            self._sniff(data)
        if self._document is None:
            return self._events.feed(data)
        self._document += data
        if len(self._document) > self._max:
            raise too_large(self._max)
        return []

    def flush(self, *, broken: bool = False) -> list[Event]:
        """What the end of the body leaves: the JSON document, or pending events.

        Where the body was broken off (`broken`) a document counts only if it is whole: that the
        rest of it is missing is known already.
        """
        if self._document is None:
            return self._events.flush()
        document = bytes(self._document).strip(_BLANK)
        self._document.clear()
        if not document or (broken and not is_container(document)):
            return []
        return [Event(document)]

    def _sniff(self, data: bytes) -> None:
        head = data.lstrip(_BLANK)
        if not head:
            return
        self._sniffing = False
        if head.startswith(b"<"):
            raise classify_response(200, {}, head)
        if head.startswith((b"{", b"[")):
            self._document = bytearray()
