"""What went wrong at the upstream, as one `UpstreamError`.

Upstreams say the same thing in a dozen ways: as a status, as a JSON document of a dozen shapes,
inside a stream that began with 200, or by hanging up. Whatever it was, it leaves here as one
category, the upstream's own code for it, and the seconds it asked to wait.

    document    where an error can stand in a JSON document
    evidence    its words by rank, its status, its text
    table       word, status and message -> category: the rules as data
    waits       how long the upstream asked to wait
    response    responses, events and finish reasons, put together
    transport   exceptions of the HTTP client
    redaction   keys out of messages

Nothing here does I/O, and nothing here raises, whatever the upstream sent.
"""

from worker.classify.document import error_in
from worker.classify.redaction import redact
from worker.classify.response import classify_event, classify_finish, classify_response
from worker.classify.table import TRANSIENT, is_transient
from worker.classify.transport import classify_exception

__all__ = [
    "TRANSIENT",
    "classify_event",
    "classify_exception",
    "classify_finish",
    "classify_response",
    "error_in",
    "is_transient",
    "redact",
]
