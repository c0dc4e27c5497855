"""Answers that are errors: the gateway's, and those of what stands before it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from worker.client.errors import (
    APIError,
    Conflict,
    Denied,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
)

KINDS: dict[int, type[APIError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Denied,
    404: NotFound,
    409: Conflict,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: RateLimited,
}
# The request did not arrive in time, or came too early: all else below 500 stays as it is.
TRANSIENT = (408, 429)
# An error inside an answer has no status of its own: these follow from its code and type.
STATUS_OF_CODE = {"invalid_api_key": 401, "not_found": 404, "conflict": 409}
STATUS_OF_TYPE = {"permission_error": 403, "rate_limit_error": 429, "server_error": 503}


def error_of(response: httpx.Response) -> APIError:
    """The error that a response is; its body has been read.

    Only the gateway's own words are taken over: what stands before it may echo the request.
    """
    try:
        said = response.json()["error"]
    except (ValueError, LookupError, TypeError):
        said = None
    if not isinstance(said, dict) or not isinstance(said.get("message"), str):
        said = {"message": f"HTTP {response.status_code}, and not by a Deltaworks gateway"}
    error = _error(said, response.status_code)
    error.retry_after_s = _retry_after_s(response.headers)
    should_retry = response.headers.get("x-should-retry")
    if should_retry in ("true", "false"):
        error.transient = should_retry == "true"
    return error


def error_within(said: Mapping[str, Any]) -> APIError:
    """The error that came inside an answer, `{message, type, param, code}`."""
    by_type = STATUS_OF_TYPE.get(str(said.get("type")), 400)
    return _error(said, STATUS_OF_CODE.get(str(said.get("code")), by_type))


def unexpected(what: str) -> APIError:
    """The error for an answer that is none of this API."""
    return APIError(
        f"the answer is {what}; does the base_url name a Deltaworks gateway?",
        status=200,
        code="unexpected_answer",
    )


def _error(said: Mapping[str, Any], status: int) -> APIError:
    code = said.get("code")
    kind = KINDS.get(status, ServerFailed if status >= 500 else APIError)
    if code == "invalid_cursor":
        kind = InvalidCursor
    transient = status in TRANSIENT or status >= 500
    return kind(str(said.get("message")), status, code, said.get("param"), transient=transient)


def _retry_after_s(headers: httpx.Headers) -> float | None:
    with suppress(KeyError, ValueError):
        return max(float(headers["retry-after-ms"]) / 1000, 0.0)
    given = headers.get("retry-after", "")
    with suppress(ValueError):
        return max(float(given), 0.0)
    with suppress(ValueError):  # proxies send dates
        return max(parsedate_to_datetime(given).timestamp() - time.time(), 0.0)
    return None
