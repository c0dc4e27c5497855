"""Server-sent events in bytes, by the letter of the HTML standard ("Server-sent events")."""

import msgspec

HEARTBEAT = b": still here\n\n"
# How soon an EventSource comes again.
RETRY_MS = 1_000
HINT = b"retry: %d\n\n" % RETRY_MS


def frame(data: bytes, event: str | None = None, id: str | None = None) -> bytes:
    """One event. The data is JSON, which has no line breaks of its own."""
    said = b"" if id is None else b"id: %b\n" % id.encode()
    if event is not None:
        said += b"event: %b\n" % event.encode()
    return b"%bdata: %b\n\n" % (said, data)


def json_frame(document: object, event: str | None = None) -> bytes:
    """One event without an id, whose data is the document."""
    return frame(msgspec.json.encode(document), event)
