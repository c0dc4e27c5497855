"""The job request: one validation for every way in.

    {"request": {a chat-completions body}, "id"?, "idempotency_key"?, "lane"?, "scheduled_at"?,
     "deadline_at"?, "metadata"?}

Nothing here looks at the database or the network. What is valid comes out repaired (NUL and lone
surrogates become U+FFFD, as the output's do) and with `stream: true`; what is not raises one
`InvalidRequest` that names the field.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from models import Lane
from worker.catalog import Catalog
from worker.errors import InvalidRequest
from worker.text import repair, repair_document

ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{16,64}")

# OpenAI's limits for metadata (API reference, `metadata`), and for `user`-like keys.
METADATA_PAIRS, METADATA_KEY, METADATA_VALUE = 16, 64, 512
IDEMPOTENCY_KEY = 255
MODEL_NAME = 255
# Far enough from the calendar's ends for every zone and every deadline.
FIRST_YEAR, LAST_YEAR = 1970, 9000
# A text longer than this may be a prompt or a key: errors tell its length.
LONGEST_SHOWN = 40
# Deeper than any tool schema in use, and far from the interpreter's recursion limit.
MAX_DEPTH = 100

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
FIELDS = (
    "request", "id", "idempotency_key", "lane", "scheduled_at", "deadline_at", "metadata",
)  # fmt: skip

# Parameters of other endpoints, and what would let a request choose where a key is sent.
REFUSED = {
    "input": "is a parameter of the Responses API; put the conversation into messages",
    "instructions": "is a parameter of the Responses API; send a system message",
    "previous_response_id": "is a parameter of the Responses API; send the messages themselves",
    "background": "is a parameter of the Responses API; leave it out, every job is",
    "prompt": "is a parameter of the legacy completions API; put it into messages",
    "api_key": "may not travel with a request; name the key in the upstreams file",
    "base_url": "may not travel with a request; configure the upstream",
    "api_base": "may not travel with a request; configure the upstream",
}


class JobRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A valid request, ready to be inserted. `hash` identifies the request for idempotency."""

    body: dict[str, object]
    model: str
    hash: str
    id: str | None = None
    idempotency_key: str | None = None
    lane: Lane = Lane.INTERACTIVE
    scheduled_at: datetime | None = None
    deadline_at: datetime | None = None
    metadata: dict[str, str] | None = None


def validate(document: object, catalog: Catalog, max_bytes: int) -> JobRequest:
    """The job request that a decoded JSON document holds.

    Args:
        document: what the caller sent.
        catalog: the upstreams, one of which must serve the model.
        max_bytes: the largest request, measured as JSON in UTF-8.

    Raises:
        InvalidRequest: the first fault, by field.
    """
    envelope = _object(document, "job request")
    for name in envelope:
        if name not in FIELDS:
            raise InvalidRequest(
                _named(name), "is no field of a job request", f"use {', '.join(FIELDS)}"
            )
    if "request" not in envelope:
        raise InvalidRequest("request", "is missing", "give a chat-completions body")
    body = _body(envelope["request"], catalog, max_bytes)
    lane, metadata = _lane(envelope.get("lane")), _metadata(envelope.get("metadata"))
    scheduled_at = _moment(envelope.get("scheduled_at"), "scheduled_at")
    deadline_at = _moment(envelope.get("deadline_at"), "deadline_at")
    if scheduled_at and deadline_at and deadline_at <= scheduled_at:
        raise InvalidRequest("deadline_at", "is not after scheduled_at", "give a later moment")
    return JobRequest(
        body=body,
        model=str(body["model"]),
        hash=_hash([body, lane, metadata, scheduled_at, deadline_at]),
        id=_id(envelope.get("id")),
        idempotency_key=_idempotency_key(envelope.get("idempotency_key")),
        lane=lane,
        # A moment that has passed is now; the deadline counts from when the job can start.
        scheduled_at=scheduled_at if scheduled_at and scheduled_at > datetime.now(UTC) else None,
        deadline_at=deadline_at,
        metadata=metadata,
    )


def rejected(document: object) -> JobRequest:
    """An invalid request as far as it can be stored, to keep its failure under its id."""
    envelope = document if isinstance(document, dict) else {}
    lane = Lane.BULK if envelope.get("lane") == Lane.BULK else Lane.INTERACTIVE
    body = envelope.get("request")
    model = body.get("model") if isinstance(body, dict) else None
    model = repair(model)[:MODEL_NAME] if isinstance(model, str) else ""
    return JobRequest(body={}, model=model, hash="", lane=lane)


def _body(given: object, catalog: Catalog, max_bytes: int) -> dict[str, object]:
    body = _sized(_object(given, "request"), max_bytes)
    for name in REFUSED.keys() & body:
        problem, remedy = REFUSED[name].split("; ", 1)
        raise InvalidRequest(f"request.{name}", problem, remedy)
    _check_stream(body)
    _check_messages(body.get("messages"))
    for name, (is_valid, expected) in PARAMETERS.items():
        if name in body and not is_valid(body[name]):
            raise InvalidRequest(f"request.{name}", f"is {shown(body[name])}", f"give {expected}")
    _check_model(body, catalog)
    return {**body, "stream": True}


def _sized(given: dict[str, object], max_bytes: int) -> dict[str, object]:
    if _depth_exceeds(given, MAX_DEPTH):
        raise InvalidRequest("request", f"nests deeper than {MAX_DEPTH}", "flatten it")
    try:
        body = {repair(key): repair_document(v) for key, v in given.items() if v is not None}
        size = len(_encoded(body))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest("request", "is no JSON object", "send JSON types only") from None
    if size > max_bytes:
        raise InvalidRequest("request", f"has {size:,} bytes", f"send at most {max_bytes:,}")
    return body


def _check_stream(body: dict[str, object]) -> None:
    if "stream" in body and body["stream"] is not True:
        raise InvalidRequest(
            "request.stream",
            f"is {shown(body['stream'])}",
            "give the boolean true or leave it out: every job is streamed",
        )


def _check_model(body: dict[str, object], catalog: Catalog) -> None:
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_NAME:
        raise InvalidRequest("request.model", f"is {shown(model)}", "name a model")
    serving = catalog.serving(model)
    if not serving:
        raise InvalidRequest(
            "request.model",
            f"is {model!r}, which no configured upstream serves",
            f"use one of {', '.join(catalog.models())}",
        )
    asks = body.get("logprobs") is True or "top_logprobs" in body
    silent = [upstream.name for upstream in serving if not upstream.streams_logprobs]
    if asks and silent:
        raise InvalidRequest(
            "request.logprobs",
            f"is not streamed by upstream {silent[0]!r}",
            "leave it out, or set streams_logprobs = true for an upstream that does",
        )
    if "top_logprobs" in body and body.get("logprobs") is not True:
        raise InvalidRequest("request.top_logprobs", "needs logprobs", "set logprobs to true")


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        problem = "is missing" if messages is None else f"is {shown(messages)}"
        raise InvalidRequest("request.messages", problem, "give a list of at least one message")
    for place, message in enumerate(messages):
        _check_message(message, f"request.messages[{place}]")


def _check_message(given: object, field: str) -> None:
    message = _object(given, field)
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{field}.role", f"is {shown(role)}", f"use one of {', '.join(ROLES)}")
    content = message.get("content")
    if content is None:
        if role != "assistant":
            raise InvalidRequest(f"{field}.content", "is missing", "give a text or content parts")
    elif isinstance(content, list):
        for place, part in enumerate(content):
            if not isinstance(_object(part, f"{field}.content[{place}]").get("type"), str):
                raise InvalidRequest(
                    f"{field}.content[{place}].type", "is missing", 'give it, for example "text"'
                )
    elif not isinstance(content, str):
        raise InvalidRequest(f"{field}.content", f"is {shown(content)}", "give text or parts")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise InvalidRequest(f"{field}.tool_call_id", "is missing", "name the call it answers")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _between(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is(*types: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, types)


# Known parameters whose type decides whether an upstream can understand them at all; their ranges
# are the upstream's business. What is not named here is passed on as it is: servers have
# parameters of their own.
PARAMETERS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "n": (_between(1, 128), "a whole number from 1 to 128"),
    "max_tokens": (_is_count, "a whole number from 1 up"),
    "max_completion_tokens": (_is_count, "a whole number from 1 up"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "presence_penalty": (_is_number, "a number"),
    "frequency_penalty": (_is_number, "a number"),
    "seed": (_is_whole, "a whole number"),
    "logprobs": (_is(bool), "a boolean"),
    "top_logprobs": (_between(0, 20), "a whole number from 0 to 20"),
    "stop": (_is(str, list), "a text or a list of texts"),
    "tools": (_is(list), "a list of tools"),
    "tool_choice": (_is(str, dict), "a text or an object"),
    "parallel_tool_calls": (_is(bool), "a boolean"),
    "response_format": (_is(dict), "an object"),
    "stream_options": (_is(dict), "an object"),
    "logit_bias": (_is(dict), "an object"),
    "user": (_is(str), "a text"),
    "metadata": (_is(dict), "an object"),
    "reasoning_effort": (_is(str), "a text"),
}


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


def _metadata(value: object) -> dict[str, str] | None:
    if value is None:
        return None
    pairs = _object(value, "metadata")
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


def _object(value: object, field: str) -> dict[str, object]:
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    raise InvalidRequest(field, f"is {shown(value)}", "give a JSON object")


def _named(field: str) -> str:
    """A field's name as an error may show it."""
    return repair(field) if len(field) <= LONGEST_SHOWN else shown(field)


def shown(value: object) -> str:
    """A value as an error may show it: short scalars as JSON, all else by type, no prompt."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"a text of {len(value):,} characters"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool | int | float | str | None):
        return ascii(value) if isinstance(value, str) else str(_encoded(value), "utf-8")
    return f"of type {type(value).__name__}"


def _depth_exceeds(value: object, allowed: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return allowed == 0 or any(_depth_exceeds(item, allowed - 1) for item in inner)


def _hash(parts: object) -> str:
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()


_encoded = msgspec.json.encode
