"""The job request: one validation for every way in.

    {"request": {a chat-completions body}, "id"?, "idempotency_key"?, "lane"?, "scheduled_at"?,
     "deadline_at"?, "metadata"?, "webhook"?}

`webhook` is a URL to which one signed POST says how the job ended: `{"id", "object": "event",
"created_at", "type": "job.completed", "data": {the job object}}`, or `job.incomplete`,
`job.failed`, `job.cancelled`; see `worker.webhooks`.

Nothing here looks at the database or the network. What is valid comes out repaired (NUL and lone
surrogates become U+FFFD, as the output's do) and with `stream: true`; what is not raises one
`InvalidRequest` that names the field.
"""

import hashlib
import re
from datetime import UTC, datetime

import msgspec
from msgspec.structs import replace

from models import Lane
from worker.catalog import Catalog
from worker.errors import InvalidRequest
from worker.request.body import MAX_DEPTH, MODEL_NAME, body_of
from worker.request.values import depth_exceeds, named, object_of, shown
from worker.request.webhook import WebhookTerms, webhook_of
from worker.text import repair, repair_document

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{16,64}")

# OpenAI's limits for metadata (API reference, `metadata`), and for `user`-like keys.
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512
IDEMPOTENCY_KEY = 255
# Far enough from the calendar's ends for every zone and every deadline.
FIRST_YEAR, LAST_YEAR = 1970, 9000
NO_WEBHOOKS = WebhookTerms()
FIELDS = (
    "request", "id", "idempotency_key", "lane", "scheduled_at", "deadline_at", "metadata",
    "webhook",
)  # fmt: skip


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request, ready to be inserted.

    Attributes:
        hash: identifies the request for idempotency.
        retry_of: the job whose request this is once more.
        webhook: the URL that is told of the job's end.
        response_fields: what a response repeats of its request; None where it is none.
        trace_context: the trace of whoever sent it (see `worker.tracing`).
    """

    body: dict[str, object]
    model: str
    hash: str
    id: str | None = None
    idempotency_key: str | None = None
    lane: Lane = Lane.INTERACTIVE
    scheduled_at: datetime | None = None
    deadline_at: datetime | None = None
    metadata: dict[str, str] | None = None
    retry_of: str | None = None
    webhook: str | None = None
    response_fields: dict[str, object] | None = None
    trace_context: dict[str, str] | None = None


def validate(
    document: object,
    catalog: Catalog,
    max_bytes: int,
    webhooks: WebhookTerms = NO_WEBHOOKS,
) -> JobRequest:
    """The job request that a decoded JSON document holds.

    Args:
        document: what the caller sent.
        catalog: the upstreams, one of which must serve the model.
        max_bytes: the largest request, measured as JSON in UTF-8.
        webhooks: what a webhook may be.

    Raises:
        InvalidRequest: the first fault, by field.
    """
    envelope = object_of(document, "job request")
    for name in envelope:
        if name not in FIELDS:
            raise InvalidRequest(
                named(name), "is no field of a job request", f"use {', '.join(FIELDS)}"
            )
    if "request" not in envelope:
        raise InvalidRequest("request", "is missing", "give a chat-completions body")
    body = body_of(envelope["request"], catalog, max_bytes)
    lane, metadata = _lane(envelope.get("lane")), metadata_of(envelope.get("metadata"))
    scheduled_at = _moment(envelope.get("scheduled_at"), "scheduled_at")
    deadline_at = _moment(envelope.get("deadline_at"), "deadline_at")
    webhook = webhook_of(envelope.get("webhook"), webhooks)
    told = [] if webhook is None else [webhook]  # hashes of requests without one stay as they were
    if scheduled_at and deadline_at and deadline_at <= scheduled_at:
        raise InvalidRequest("deadline_at", "is not after scheduled_at", "give a later moment")
    return JobRequest(
        body=body,
        model=str(body["model"]),
        hash=_hash([body, lane, metadata, scheduled_at, deadline_at, *told]),
        id=_id(envelope.get("id")),
        idempotency_key=_idempotency_key(envelope.get("idempotency_key")),
        lane=lane,
        # A moment that has passed is now; the deadline counts from when the job can start.
        scheduled_at=scheduled_at if scheduled_at and scheduled_at > datetime.now(UTC) else None,
        deadline_at=deadline_at,
        metadata=metadata,
        webhook=webhook,
    )


def as_response(request: JobRequest, fields: dict[str, object]) -> JobRequest:
    """The request as one for a response, which repeats these fields.

    Raises:
        InvalidRequest: one nests too deeply.
    """
    for name, value in fields.items():
        if depth_exceeds(value, MAX_DEPTH):
            raise InvalidRequest(name, f"nests deeper than {MAX_DEPTH}", "flatten it")
    kept = {name: repair_document(value) for name, value in fields.items()}
    return replace(request, response_fields=kept, hash=_hash([request.hash, kept]))


def rejected(document: object, webhooks: WebhookTerms = NO_WEBHOOKS) -> JobRequest:
    """An invalid request as far as it can be stored, to keep its failure under its id."""
    envelope = document if isinstance(document, dict) else {}
    lane = Lane.BULK if envelope.get("lane") == Lane.BULK else Lane.INTERACTIVE
    body = envelope.get("request")
    model = body.get("model") if isinstance(body, dict) else None
    model = repair(model)[:MODEL_NAME] if isinstance(model, str) else ""
    try:
        webhook = webhook_of(envelope.get("webhook"), webhooks)
    except InvalidRequest:
        webhook = None
    return JobRequest(body={}, model=model, hash="", lane=lane, webhook=webhook)


def _id(value: object) -> str | None:
    if value is None or (isinstance(value, str) and ID_PATTERN.fullmatch(value)):
        return value
    raise InvalidRequest("id", f"is {shown(value)}", "give 16 to 64 of A-Z a-z 0-9 _ -")


def _idempotency_key(value: object) -> str | None:
    if value is None or (isinstance(value, str) and 0 < len(value) <= IDEMPOTENCY_KEY):
        return None if value is None else repair(value)
    raise InvalidRequest(
        "idempotency_key", f"is {shown(value)}", f"give 1 to {IDEMPOTENCY_KEY} characters"
    )


def _lane(value: object) -> Lane:
    if value is None:
        return Lane.INTERACTIVE
    if isinstance(value, str) and value in list(Lane):
        return Lane(value)
    raise InvalidRequest("lane", f"is {shown(value)}", "use interactive or bulk")


def _moment(value: object, field: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise InvalidRequest(
            field, f"is {shown(value)}", "give ISO 8601 with a zone, like 2030-01-31T22:00:00Z"
        )
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise InvalidRequest(
            field, f"is {shown(value)}", f"give a year from {FIRST_YEAR} to {LAST_YEAR}"
        )
    return moment.astimezone(UTC)


def metadata_of(value: object) -> dict[str, str] | None:
    """The metadata, repaired; None where there are none.

    Raises:
        InvalidRequest: names the pair that is too long, or no text.
    """
    if value is None:
        return None
    pairs = object_of(value, "metadata")
    if len(pairs) > METADATA_PAIRS:
        raise InvalidRequest("metadata", f"has {len(pairs)} pairs", f"use at most {METADATA_PAIRS}")
    for key, text in pairs.items():
        if len(key) > METADATA_KEY or not isinstance(text, str) or len(text) > METADATA_VALUE:
            raise InvalidRequest(
                f"metadata.{repair(key[:METADATA_KEY])}",
                f"is {shown(text)}",
                f"use keys of {METADATA_KEY} and texts of {METADATA_VALUE} characters at most",
            )
    return {repair(key): repair(str(text)) for key, text in pairs.items()}


def _hash(parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()
