"""Exceptions of the way to the upstream as `UpstreamError`.

httpx over aiohttp tells little by its own types: refused, reset and closed connections all come
as `httpx.ConnectTimeout`, a bad status line as a bare `aiohttp.ClientResponseError`. The truth
stands in the chain of causes, so every row below is tried on the whole chain.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import aiohttp
import httpx

from worker.classify.redaction import redact
from worker.errors import Category, UpstreamError

_CHAIN_LIMIT = 10
"""Causes that are looked at; a chain may run in a circle."""


class _Row(NamedTuple):
    category: Category
    code: str
    types: tuple[type[BaseException], ...]


# The order matters: aiohttp's timeouts are connection errors as well, a builtin TimeoutError is
# an OSError, and an httpx.ConnectTimeout is one only if aiohttp had no better reason.
_ROWS = (
    _Row(Category.TIMEOUT, "connect_timeout", (aiohttp.ConnectionTimeoutError,)),
    _Row(Category.TIMEOUT, "read_timeout", (aiohttp.SocketTimeoutError, httpx.ReadTimeout)),
    _Row(Category.TIMEOUT, "write_timeout", (httpx.WriteTimeout,)),
    _Row(Category.TIMEOUT, "pool_timeout", (httpx.PoolTimeout,)),
    _Row(Category.TRUNCATED, "undecodable_body", (httpx.DecodingError,)),
    _Row(
        Category.BAD_REQUEST,
        "invalid_url",
        (httpx.UnsupportedProtocol, httpx.InvalidURL, aiohttp.InvalidURL),
    ),
    _Row(
        Category.CONNECTION,
        "proxy_failure",
        (httpx.ProxyError, aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError),
    ),
    _Row(Category.CONNECTION, "dns_failure", (socket.gaierror, aiohttp.ClientConnectorDNSError)),
    _Row(
        Category.CONNECTION,
        "tls_failure",
        (ssl.SSLError, aiohttp.ClientSSLError, aiohttp.ServerFingerprintMismatch),
    ),
    _Row(Category.CONNECTION, "connection_refused", (ConnectionRefusedError,)),
    _Row(
        Category.CONNECTION,
        "connection_reset",
        (ConnectionResetError, ConnectionAbortedError, BrokenPipeError),
    ),
    _Row(Category.CONNECTION, "connection_closed", (aiohttp.ServerDisconnectedError,)),
    _Row(
        Category.CONNECTION,
        "invalid_response",
        (aiohttp.ClientResponseError, httpx.RemoteProtocolError),
    ),
    _Row(Category.TIMEOUT, "timeout", (aiohttp.ServerTimeoutError,)),
    _Row(Category.CONNECTION, "connection_failed", (aiohttp.ClientError,)),
    _Row(Category.TIMEOUT, "connect_timeout", (httpx.ConnectTimeout,)),
    _Row(Category.TIMEOUT, "timeout", (TimeoutError, httpx.TimeoutException)),
    _Row(Category.CONNECTION, "connection_failed", (OSError, EOFError, httpx.TransportError)),
)


def classify_exception(exc: BaseException, *, streaming: bool) -> UpstreamError:
    """What an exception raised by the HTTP client, or by a timer around it, means.

    Args:
        exc: the exception; an `UpstreamError` is handed back as it is.
        streaming: whether the response's headers had arrived. From then on a broken connection
            is a truncated stream: `stream_truncated` where the upstream closed it in an orderly
            way, `connection_lost` otherwise.

    Whatever does not come from the network is `internal`: a fault of ours, which no further
    attempt cures.
    """
    if isinstance(exc, UpstreamError):
        return exc
    category, code = _matched(exc)
    if streaming and category is Category.CONNECTION:
        category = Category.TRUNCATED
        code = "stream_truncated" if _closed_in_order(exc) else "connection_lost"
    return UpstreamError(category, code, message=redact(str(exc) or type(exc).__name__))


def _matched(exc: BaseException) -> tuple[Category, str]:
    causes = tuple(_causes(exc))
    for row in _ROWS:
        if any(isinstance(cause, row.types) for cause in causes):
            return row.category, row.code
    return Category.INTERNAL, type(exc).__name__


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_CHAIN_LIMIT):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__


def _closed_in_order(exc: BaseException) -> bool:
    """Whether the upstream ended the connection (FIN) before it ended the body.

    aiohttp has one exception for both: it ends with the parser's complaint, which is also its
    cause, and only if the socket failed does that error's text follow.
    """
    for cause in _causes(exc):
        if isinstance(cause, aiohttp.ClientPayloadError):
            return str(cause).endswith(repr(cause.__cause__))
    return isinstance(exc, httpx.RemoteProtocolError)
