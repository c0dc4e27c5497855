"""Every error as a status and one JSON shape, which is OpenAI's."""

import logging
import math
from collections.abc import Mapping
from traceback import extract_tb

from starlette.exceptions import HTTPException
from starlette.responses import Response

from worker.errors import (
    ChannelAway,
    Conflict,
    Denied,
    InvalidCursor,
    InvalidRequest,
    NotFound,
    ServerEnds,
    StorageAway,
    StoreAway,
    Throttled,
    Unauthorized,
    Unknown,
    Unsupported,
)
from worker.gateway.answers import json_answer
from worker.text import repair

logger = logging.getLogger(__name__)

# When to come again where nobody knows better.
AGAIN_S = 1.0


class Refusal(Exception):
    """An answer that is an error, and says so.

    Attributes:
        status: of the response.
        type, code, param: as OpenAI's clients read them.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        message = repair(message)  # it may quote a name that was sent
        super().__init__(message)
        self.status = status
        param = None if param is None else repair(param)
        self.error = {"message": message, "type": type, "param": param, "code": code}
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The response: `{"error": {message, type, param, code}}`."""
        return json_answer({"error": self.error}, self.status, self.headers)


# By the kind of error: status, type and code.
KINDS: dict[type[Exception], tuple[int, str, str]] = {
    Unsupported: (400, "invalid_request_error", "unsupported_parameter"),
    Unknown: (400, "invalid_request_error", "unknown_parameter"),
    InvalidRequest: (400, "invalid_request_error", "invalid_value"),
    InvalidCursor: (400, "invalid_request_error", "invalid_cursor"),
    Unauthorized: (401, "invalid_request_error", "invalid_api_key"),
    Denied: (403, "permission_error", "permission_denied"),
    NotFound: (404, "invalid_request_error", "not_found"),
    Conflict: (409, "invalid_request_error", "conflict"),
    Throttled: (429, "rate_limit_error", "rate_limit_exceeded"),
    StoreAway: (503, "server_error", "store_away"),
    ChannelAway: (503, "server_error", "channel_away"),
    StorageAway: (503, "server_error", "storage_away"),
    ServerEnds: (503, "server_error", "server_ends"),
}


def refusal_of(error: Exception) -> Refusal:
    """What an error means to whoever asked; what is our own fault is a 500 that tells nothing."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        return Refusal(error.status_code, str(error.detail), code="invalid_request")
    known = next((KINDS[kind] for kind in type(error).__mro__ if kind in KINDS), None)
    if known is None:
        _report(error)
        return Refusal(500, "a fault of this server; its log says more", type="server_error")
    status, kind, code = known
    param = param_of(error) if isinstance(error, InvalidRequest) else None
    headers = _headers(error)
    return Refusal(status, str(error), type=kind, code=code, param=param, headers=headers)


def _report(fault: Exception) -> None:
    """Log a fault of our own: its kind and the way to it; its words may quote a prompt."""
    places = [f"{f.filename}:{f.lineno} {f.name}" for f in extract_tb(fault.__traceback__)]
    logger.error("%s at %s", type(fault).__name__, " > ".join(places[-6:]))


def _headers(error: Exception) -> dict[str, str]:
    match error:
        case Unauthorized():
            return {"www-authenticate": "Bearer"}
        case Conflict():
            return {"x-should-retry": "false"}
        case Throttled():
            return _retry_after(error.retry_after_s)
        case StoreAway() | ChannelAway() | StorageAway() | ServerEnds():
            return _retry_after(AGAIN_S)
    return {}


def param_of(error: InvalidRequest) -> str:
    """The field at fault by the name that OpenAI's clients know, without our envelope."""
    return error.field.removeprefix("request.")


def _retry_after(seconds: float) -> dict[str, str]:
    return {
        "retry-after": str(math.ceil(seconds)),
        "retry-after-ms": str(math.ceil(seconds * 1000)),
    }
