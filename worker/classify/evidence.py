"""What an error says about itself, gathered for the table: words by rank, status, text."""

import re
from collections.abc import Iterator, Mapping

import msgspec

from worker.classify.document import error_in, is_present, parse_json, plain_text

_GOOGLE_STATUS = re.compile(r"[A-Z][A-Z_]+")

_STATUS_FIELDS = ("code", "status", "statusCode", "status_code", "raw_status_code")
"""Where an error under HTTP 200 tells the status it would have had. TGI's `http_status_code` is
not among them: it is 422 for every error of a stream (text-generation-inference, server.rs)."""


class Evidence(msgspec.Struct, frozen=True):
    """One error, as the rules see it.

    Attributes:
        error: the normalised error object (see `error_in`).
        words: the names the error gives itself, by the place they stand in, the most telling
            first. Statuses in digits and the strings "None" and "null" are no words.
        provider_words: the same of the provider behind OpenRouter, used where `words` is empty.
        status: the HTTP status, or the numeric code that stands in for it in a stream.
        text: all messages.
        details: the objects of google.rpc's `details` list.
        headers: names in lower case; with those OpenRouter hands on in `metadata.headers`.
        host: the host name, or the configured kind, of the upstream.
    """

    error: dict[str, object]
    words: dict[str, str]
    provider_words: dict[str, str]
    status: int
    text: str
    details: tuple[dict[str, object], ...]
    headers: Mapping[str, str]
    host: str

    @property
    def number(self) -> str | None:
        """The code in digits, for errors that have no other."""
        code = self.error.get("code")
        return None if http_status(code) is None else plain_text(code).strip()

    @property
    def metadata(self) -> Mapping[str, object]:
        """OpenRouter's `error.metadata`."""
        return _mapping(self.error.get("metadata"))

    @property
    def quota_ids(self) -> Iterator[str]:
        """The quotas named by google.rpc.QuotaFailure."""
        for detail in self.details:
            violations = detail.get("violations")
            for violation in violations if isinstance(violations, list) else ():
                yield plain_text(_mapping(violation).get("quotaId"))


def gather(
    error: dict[str, object], status: int, headers: Mapping[str, str], host: str
) -> Evidence:
    """Read an error object in the light of the response it came with."""
    metadata = _mapping(error.get("metadata"))
    provider = _provider_error(metadata)
    passed_on = _lower_names(_mapping(metadata.get("headers")))
    return Evidence(
        error=error,
        words=_words(error),
        provider_words=_words(provider),
        status=status if status >= 400 else _stand_in_status(error) or status,
        text=": ".join(filter(None, (_message(error), _message(provider)))),
        details=(*_details(error), *_details(provider)),
        headers={**passed_on, **_lower_names(headers)},
        host=host.strip().lower(),
    )


def _provider_error(metadata: Mapping[str, object]) -> dict[str, object]:
    raw = metadata.get("raw")
    if isinstance(raw, str) and (document := parse_json(raw)) is None:
        return {"message": raw} if is_present(raw) else {}
    return error_in(document if isinstance(raw, str) else raw) or {}


def _words(error: Mapping[str, object]) -> dict[str, str]:
    places = {
        "details": _mapping(error.get("details")).get("error_code"),
        "innererror": _mapping(error.get("innererror")).get("code"),
        "reason": next(_reasons(error), None),
        "code": error.get("code"),
        "status": _google_status(error.get("status")),
        "type": error.get("type"),
    }
    return {place: str(value).strip() for place, value in places.items() if _is_word(value)}


def _is_word(value: object) -> bool:
    """Digits that are no HTTP status are a vendor's own number (Mistral's 1300), so a word."""
    if isinstance(value, bool) or not isinstance(value, int | str) or not is_present(value):
        return False
    return http_status(value) is None and str(value).strip().casefold() != "error"


def http_status(value: object) -> int | None:
    """An HTTP status in digits, whether it stands there as a number or as a string."""
    if isinstance(value, str) and re.fullmatch(r"\s*[1-5]\d\d\s*", value, re.ASCII):
        return int(value)
    return value if isinstance(value, int) and 100 <= value <= 599 else None


def _stand_in_status(error: Mapping[str, object]) -> int | None:
    found = (http_status(error.get(field)) for field in _STATUS_FIELDS)
    return next((status for status in found if status is not None and status >= 400), None)


def _google_status(value: object) -> str | None:
    return value if isinstance(value, str) and _GOOGLE_STATUS.fullmatch(value) else None


def _details(error: Mapping[str, object]) -> Iterator[dict[str, object]]:
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield detail


def _reasons(error: Mapping[str, object]) -> Iterator[object]:
    """google.rpc.ErrorInfo: `API_KEY_INVALID` comes as 400 INVALID_ARGUMENT."""
    for detail in _details(error):
        if str(detail.get("@type", "")).endswith("ErrorInfo"):
            yield detail.get("reason")


def _message(error: Mapping[str, object]) -> str:
    message = error.get("message")
    return message if isinstance(message, str) and is_present(message) else ""


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _lower_names(headers: Mapping[str, object]) -> dict[str, str]:
    return {str(name).lower(): plain_text(value) for name, value in headers.items()}
