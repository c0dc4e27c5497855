"""What comes in with a request: who sent it, and its JSON, within limits."""

import asyncio
import json
import re
from typing import Any

from starlette.requests import ClientDisconnect, Request

from worker.access import Principal, Scope
from worker.errors import InvalidRequest
from worker.gateway.gateway import Gateway
from worker.gateway.refusals import Refusal

JSON_TYPE = re.compile(r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.IGNORECASE)


def gateway_of(request: Request) -> Gateway:
    """The gateway that serves the request."""
    found: Gateway = request.app.state.gateway
    return found


async def principal_of(request: Request, scope: Scope) -> Principal:
    """Who sent the request, if it may; it is counted against the key's rate.

    Raises:
        Unauthorized, Denied, Throttled: it may not.
    """
    gateway = gateway_of(request)
    principal = await gateway.access.principal(request.headers.get("authorization"))
    principal.require(scope)
    await gateway.rate.spend(principal)
    return principal


async def json_of(request: Request) -> Any:
    """The request's body as JSON.

    Raises:
        Refusal: 415 for another type, 413 for too much of it, 408 for too slow, 400 for no JSON.
    """
    settings = gateway_of(request).client.settings
    given = request.headers.get("content-type", "")
    if not JSON_TYPE.fullmatch(given):
        raise Refusal(
            415, f"content-type: is {given[:40]!r}; send application/json", code="unsupported_type"
        )
    as_it_is(request)
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            content = await _content(request, settings.max_request_bytes)
    except TimeoutError:
        raise Refusal(
            408, f"the body took longer than {settings.body_timeout_s:g} s; send it faster"
        ) from None
    try:
        return json.loads(content)
    except RecursionError:
        raise Refusal(400, "the body nests too deeply; flatten it", code="invalid_json") from None
    except ValueError as error:  # its words may quote the body, but for the place
        place = f" at character {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Refusal(
            400, f"the body is no JSON{place}; send one JSON object", code="invalid_json"
        ) from None


async def object_of(request: Request) -> dict[str, object]:
    """The request's body, a JSON object. Raises like `json_of`."""
    found = await json_of(request)
    if not isinstance(found, dict):
        raise InvalidRequest("body", f"is of type {type(found).__name__}", "send a JSON object")
    return found


def as_it_is(request: Request) -> None:
    """Go on only if the body is not compressed.

    Raises:
        Refusal: 415, it is.
    """
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(
            415, "content-encoding: is not understood; send the body as it is",
            code="unsupported_encoding",
        )  # fmt: skip


def announced(request: Request) -> int:
    """The bytes of the body that is said to come; 0 where nothing is said."""
    given = request.headers.get("content-length", "")
    return int(given[:20]) if given.isdecimal() else 0


async def _content(request: Request, most: int) -> bytes:
    if announced(request) > most:
        raise too_large("body", most)
    content = bytearray()
    try:
        async for piece in request.stream():
            content += piece
            if len(content) > most:
                raise too_large("body", most)
    except ClientDisconnect:
        raise Refusal(400, "the client left in the middle of its request") from None
    return bytes(content)


def too_large(what: str, most: int) -> Refusal:
    """The refusal of a body, or of a field of it, that has more than so many bytes."""
    return Refusal(
        413, f"{what}: has more than {most:,} bytes; send less", code="body_too_large", param=what
    )
