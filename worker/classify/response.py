"""Responses, in-stream errors and finish reasons as `UpstreamError`."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from worker.classify.document import error_in, parse_json
from worker.classify.evidence import Evidence, gather
from worker.classify.redaction import redact, redact_word
from worker.classify.table import TRANSIENT, category_of, decide
from worker.classify.waits import body_wait_s, header_wait_s, reset_wait_s
from worker.errors import Category, UpstreamError

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})

_FAILED_FINISHES = {
    "error": Category.TRUNCATED,  # OpenRouter, Mistral
    "abort": Category.TRUNCATED,  # SGLang
    "network_error": Category.TRUNCATED,  # a provider's own word, handed on by OpenRouter
    "insufficient_system_resource": Category.OVERLOADED,  # DeepSeek
}

_NAMING_ORDER = ("details", "code", "innererror", "status", "reason", "type")
"""Azure names the same thing twice: the public `code` is the name, `innererror` the reason."""

_REQUEST_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-generation-id")
_SHOULD_RETRY = {"true": True, "false": False}
_HTML_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,500})</title", re.IGNORECASE)


def classify_response(
    status: int, headers: Mapping[str, str], body: bytes, *, host: str = ""
) -> UpstreamError:
    """What a response other than a stream means.

    Args:
        status: its HTTP status. Under 200 an error document is classified by its own words;
            any other body (HTML, a login page) is `not_event_stream`.
        headers: its headers; the case of names does not matter.
        body: what arrived of it, decoded of any content encoding.
        host: the upstream's host name or configured kind, for the vendors that mean
            something of their own by a word or a status.
    """
    text = body.decode("utf-8-sig", "replace")
    error = error_in(parse_json(text))
    if error is not None:
        return _classified(gather(error, status, headers, host), status)
    evidence = gather({"message": _readable(text)}, status, headers, host)
    if 200 <= status <= 299:
        return _error(evidence, Category.NOT_EVENT_STREAM, "not_event_stream", status)
    return _classified(evidence, status)


def classify_event(
    document: object,
    event_type: str | None = None,
    *,
    status: int = 200,
    headers: Mapping[str, str] = _NO_HEADERS,
    host: str = "",
) -> UpstreamError:
    """What an error inside a stream means, or an error document under HTTP 200.

    Args:
        document: the decoded data of the event; plain text is passed as a str.
        event_type: the event's name, `"error"` if it has that.
        status: the HTTP status of the response; a numeric code in the error stands in for it.
        headers: the headers of the response.
        host: as for `classify_response`.
    """
    error = error_in(document, event_type) or error_in(document, "error") or {}
    return _classified(gather(error, status, headers, host), status)


def classify_finish(
    finish_reason: str | None, native_finish_reason: str | None = None, *, status: int = 200
) -> UpstreamError | None:
    """The failure a finish reason stands for; None for all that are an end.

    OpenRouter may send a benign finish reason with the truth in `native_finish_reason`.
    """
    for reason in (finish_reason, native_finish_reason):
        word = (reason or "").strip().lower()
        if word in _FAILED_FINISHES:
            message = f"the upstream broke the stream off with finish_reason {word!r}"
            return UpstreamError(_FAILED_FINISHES[word], word, status, message)
    return None


def _classified(evidence: Evidence, status: int) -> UpstreamError:
    category, fallback_name = decide(evidence)
    return _error(evidence, category, _name(evidence, category, fallback_name), status)


def _error(evidence: Evidence, category: Category, code: str | None, status: int) -> UpstreamError:
    headers = evidence.headers
    return UpstreamError(
        category,
        code=None if code is None else redact_word(code),
        status=status,
        message=redact(evidence.text),
        retry_after_s=_wait_s(evidence, category),
        request_id=_request_id(evidence),
        should_retry=_SHOULD_RETRY.get(headers.get("x-should-retry", "").strip().lower()),
    )


def _name(evidence: Evidence, category: Category, fallback_name: str | None) -> str | None:
    """The upstream's own word for it: one that means the category, else its most telling."""
    for words in (evidence.words, {} if evidence.words else evidence.provider_words):
        for place in _NAMING_ORDER:
            if place in words and category_of(words[place]) is category:
                return words[place]
    if fallback_name is not None and "code" not in evidence.words:
        return fallback_name
    return next(iter(evidence.words.values()), evidence.number)


def _wait_s(evidence: Evidence, category: Category) -> float | None:
    """Headers are meant. The wording of a body is read only where waiting can help, and a reset
    time only for limits: OpenAI sends it with every response."""
    wait = header_wait_s(evidence.headers)
    if wait is None and category in TRANSIENT:
        wait = body_wait_s(evidence.details, evidence.text)
    if wait is None and category in (Category.RATE_LIMIT, Category.QUOTA_PERIOD):
        wait = reset_wait_s(evidence.headers)
    return wait


def _request_id(evidence: Evidence) -> str | None:
    named = (evidence.headers.get(name) for name in _REQUEST_ID_HEADERS)
    request_id = next(filter(None, named), None) or evidence.error.get("request_id")
    return redact_word(request_id) if isinstance(request_id, str) else None


def _readable(text: str) -> str:
    """Of an HTML page its title, which proxies use for the reason."""
    if text.lstrip()[:1] != "<":
        return text
    title = _HTML_TITLE.search(text[:20_000])
    return title[1] if title else text
