"""Where an error can stand in a JSON document.

    [ {...} ]                                       Gemini's compatible endpoint: a list
    {"error": {...} | [{...}] | "text" | true}      most; TGI, Ollama native; NestJS
    {"object": "error", "message", "type", "code"}  Mistral, old vLLM, SGLang
    {"type": "error", "code", "message"}            OpenAI Responses
    {"message": "..."}, {"code": "...", "message"}  Mistral's gateway, DashScope native
    {"detail": "..." | [{loc, msg}] | {...}}        FastAPI servers, Mistral 422
    event: error, bare {"code", "message"}          OpenAI's ErrorEvent schema
    {"choices": [...], "x_groq": {"error": "..."}}  Groq
    {"choices": [{"error": {...}}]}                 OpenRouter
    error.message is again such a document          proxies of Gemini

Nothing here decides what an error means, and nothing here raises.
"""

import json

_DRILL_LIMIT = 10
"""Nested documents that are opened; gemini-cli stops at ten as well."""

_ABSENT_WORDS = frozenset({"", "none", "null"})
"""LiteLLM's proxy writes `"None"` where a field is missing."""

_SUCCESS_CODES = frozenset({0, 200, "0", "200"})
"""Gateways that send `code` with every answer use these for "all is well"."""

_BARE_UNDER = frozenset({None, "message", "error"})
"""Events whose data may be an error without a wrapper: those without a name (`message` is what
they have by default) and those that are called one."""

_DECIDING_KEYS = ("code", "type", "status", "innererror", "details")


def error_in(document: object, event_type: str | None = None) -> dict[str, object] | None:
    """The error object inside a decoded JSON document of any known shape, or None.

    `error: null`, `error: {}` and ordinary chunks are no errors. Whatever comes under
    `event: error` is one, even plain text (passed as a str) or nothing at all. Under another name
    only what is wrapped is one: a status with a `message` is an event of an unknown type, and
    those are to be ignored (Anthropic's streaming documentation). Text without a wrapper comes
    back as `{"message": text}`; a `request_id` beside the error comes along.
    """
    located = _located(document, bare=event_type in _BARE_UNDER)
    if located is None and event_type == "error":
        located = document if isinstance(document, dict) else {"message": plain_text(document)}
    if located is None:
        return None
    return _with_request_id(_drilled(located), document)


def is_present(value: object) -> bool:
    """Whether a field says anything: `"None"`, `"null"` and the empty values do not."""
    if isinstance(value, str):
        return value.strip().casefold() not in _ABSENT_WORDS
    return bool(value)


def parse_json(text: str) -> object:
    """The decoded document, or None where the text is not a JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        decoded: object = json.loads(text)
    except (ValueError, RecursionError):  # also over-long integers and over-deep nesting
        return None
    return decoded


def plain_text(value: object) -> str:
    """A scalar as text; anything else is nothing to show, and may be nested without end."""
    return str(value) if isinstance(value, str | int | float) else ""


def _located(document: object, *, bare: bool = True) -> dict[str, object] | None:
    if isinstance(document, list):
        document = document[0] if document else None
    if not isinstance(document, dict):
        return None
    wrapped = _wrapped(document) or _beside_choices(document)
    return wrapped if wrapped is not None or not bare else _flat(document)


def _wrapped(document: dict[str, object]) -> dict[str, object] | None:
    error = document.get("error")
    if isinstance(error, list):
        error = error[0] if error else None
    if not is_present(error):
        return None
    if isinstance(error, dict):
        return error if any(is_present(value) for value in error.values()) else None
    if isinstance(error, str):
        return _from_reason(document, error)
    return {**document, "code": error} if not isinstance(error, bool) else document


def _from_reason(document: dict[str, object], reason: str) -> dict[str, object]:
    """`{"error": "text"}`, with TGI's `error_type` or NestJS' `message` beside it."""
    message = document.get("message")
    return {
        **document,
        "error": None,
        "message": message if is_present(message) else reason,
        "type": document.get("error_type", document.get("type")),
    }


def _beside_choices(document: dict[str, object]) -> dict[str, object] | None:
    x_groq = document.get("x_groq")
    if isinstance(x_groq, dict) and is_present(x_groq.get("error")):
        return _wrapped({"error": x_groq["error"]})
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict) and isinstance(choice.get("error"), dict):
            return _wrapped(choice)
    return None


def _flat(document: dict[str, object]) -> dict[str, object] | None:
    if document.get("object") == "error" or document.get("type") == "error":
        return document
    if document.get("choices") is not None or is_present(document.get("object")):
        return None
    if is_present(document.get("detail")):
        return _from_detail(document)
    return document if _is_refusal(document) else None


def _is_refusal(document: dict[str, object]) -> bool:
    message, code = document.get("message"), document.get("code")
    succeeded = isinstance(code, int | str) and code in _SUCCESS_CODES
    return isinstance(message, str) and is_present(message) and not succeeded


def _from_detail(document: dict[str, object]) -> dict[str, object]:
    detail = document["detail"]
    if isinstance(detail, dict):
        return _wrapped(detail) or detail
    if isinstance(detail, list):
        return {**document, "message": "; ".join(map(_validation_line, detail))}
    return {**document, "message": plain_text(detail)}


def _validation_line(item: object) -> str:
    if not isinstance(item, dict):
        return plain_text(item)
    location = item.get("loc")
    where = ".".join(map(plain_text, location)) if isinstance(location, list) else "request"
    return f"{where}: {plain_text(item.get('msg'))}"


def _drilled(error: dict[str, object]) -> dict[str, object]:
    for _ in range(_DRILL_LIMIT):
        inner = _nested(error)
        if inner is None:
            break
        error = _merged(error, inner)
    return error


def _nested(error: dict[str, object]) -> dict[str, object] | None:
    message = error.get("message")
    inner = _located(parse_json(message) if isinstance(message, str) else message)
    if inner is None and isinstance(error.get("error"), dict):
        return _wrapped(error)
    return inner


def _merged(outer: dict[str, object], inner: dict[str, object]) -> dict[str, object]:
    """Where the inner error names itself, the outer one's names are the proxy's: drop them."""
    kept = {key: value for key, value in outer.items() if key != "error"}
    if any(is_present(inner.get(key)) for key in _DECIDING_KEYS):
        kept = {key: value for key, value in kept.items() if key not in _DECIDING_KEYS}
    return {**kept, **inner}


def _with_request_id(error: dict[str, object], document: object) -> dict[str, object]:
    request_id = document.get("request_id") if isinstance(document, dict) else None
    if not isinstance(request_id, str) or "request_id" in error:
        return error
    return {**error, "request_id": request_id}
