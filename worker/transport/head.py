"""A request's head as bytes, and a response's head as it was read."""

from typing import NamedTuple

import httpx

# What could end a header early, and so begin one that nobody wrote.
_BREAKS = (b"\r", b"\n", b"\0")


class Head(NamedTuple):
    """The first line and the headers of a response, names as they came."""

    status: int
    headers: list[tuple[bytes, bytes]]


def encode(request: httpx.Request, target: bytes, length: int, extra: dict[bytes, bytes]) -> bytes:
    """The head of a request whose body has `length` bytes.

    Args:
        request: its method and headers are used.
        target: what stands in the request line; a path, or a whole URL for a proxy.
        length: bytes of the body, which is sent in one piece whatever the headers say.
        extra: headers beside the request's own.

    Raises:
        httpx.LocalProtocolError: a header has a line break or a NUL in it. The value is not
            told: it may be a key.
    """
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), target)]
    for name, value in (*request.headers.raw, *extra.items()):
        if name.lower() in (b"content-length", b"transfer-encoding"):
            continue
        if any(broken in name or broken in value for broken in _BREAKS):
            named = name.decode("latin-1")
            raise httpx.LocalProtocolError(
                f"header {named!r}: a line break or NUL in its value; remove it", request=request
            )
        lines.append(b"%b: %b" % (name, value))
    if length or request.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d" % length)
    return b"\r\n".join(lines) + b"\r\n\r\n"
