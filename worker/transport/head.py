"""A request's head as bytes, and a response's head as it was read."""

from collections.abc import Iterable
from typing import NamedTuple

import httpx

# What could end a header early, and so begin one that nobody wrote.
_BREAKS = (b"\r", b"\n", b"\0")


class Head(NamedTuple):
    """The first line and the headers of a response, names as they came."""

    status: int
    headers: list[tuple[bytes, bytes]]

    def named(self) -> dict[str, str]:
        """The headers by name, in lower case; several of one name are one, as RFC 9110 has it."""
        found: dict[str, str] = {}
        for raw_name, raw_value in self.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            found[name] = f"{found[name]}, {value}" if name in found else value
        return found


Headers = Iterable[tuple[bytes, bytes]]


def beginning(method: str, target: bytes, headers: Headers) -> bytes:
    """The head of a request as far as its last header but that of its length.

    Args:
        method: such as POST.
        target: what stands in the request line; a path, or a whole URL for a proxy.
        headers: those that speak of the body's length are left out: it is sent in one piece.

    Raises:
        httpx.LocalProtocolError: see `lines`.
    """
    framing = b"content-length", b"transfer-encoding"
    others = [header for header in headers if header[0].lower() not in framing]
    return b"%b %b HTTP/1.1\r\n" % (method.encode("ascii"), target) + lines(others)


def lines(headers: Headers) -> bytes:
    """The headers as they are sent.

    Raises:
        httpx.LocalProtocolError: a header has a line break or a NUL in it. The value is not
            told: it may be a key.
    """
    written = bytearray()
    for name, value in headers:
        if any(broken in name or broken in value for broken in _BREAKS):
            named = name.decode("latin-1")
            raise httpx.LocalProtocolError(
                f"header {named!r}: a line break or NUL in its value; remove it"
            )
        written += b"%b: %b\r\n" % (name, value)
    return bytes(written)


def end(method: str, length: int) -> bytes:
    """The end of a head whose body has `length` bytes."""
    if length or method in ("POST", "PUT", "PATCH"):
        return b"content-length: %d\r\n\r\n" % length
    return b"\r\n"
