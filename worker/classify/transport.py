"""Exceptions of the way to the upstream as `UpstreamError`.

httpx's types say in what phase something failed, the chain of causes says what: every row below is
tried on the whole chain.
"""

import socket
import ssl
from collections.abc import Iterator
from typing import NamedTuple

import httpx

from worker.classify.redaction import redact
from worker.errors import Category, UpstreamError

_CHAIN_LIMIT = 10
"""Causes that are looked at; a chain may run in a circle."""


class _Row(NamedTuple):
    category: Category
    code: str
    types: tuple[type[BaseException], ...]


# The order matters: a builtin TimeoutError is an OSError, and httpx's own types, which say only in
# what phase something failed, come last.
_ROWS = (
    _Row(Category.TIMEOUT, "connect_timeout", (httpx.ConnectTimeout,)),
    _Row(Category.TIMEOUT, "read_timeout", (httpx.ReadTimeout,)),
    _Row(Category.TIMEOUT, "write_timeout", (httpx.WriteTimeout,)),
    _Row(Category.TIMEOUT, "pool_timeout", (httpx.PoolTimeout,)),
    _Row(Category.TRUNCATED, "undecodable_body", (httpx.DecodingError,)),
    _Row(Category.BAD_REQUEST, "invalid_url", (httpx.UnsupportedProtocol, httpx.InvalidURL)),
    _Row(Category.BAD_REQUEST, "invalid_header", (httpx.LocalProtocolError,)),
    _Row(Category.CONNECTION, "proxy_failure", (httpx.ProxyError,)),
    _Row(Category.CONNECTION, "dns_failure", (socket.gaierror,)),
    _Row(Category.CONNECTION, "tls_failure", (ssl.SSLError,)),
    _Row(Category.CONNECTION, "connection_refused", (ConnectionRefusedError,)),
    _Row(
        Category.CONNECTION,
        "connection_reset",
        (ConnectionResetError, ConnectionAbortedError, BrokenPipeError),
    ),
    _Row(Category.CONNECTION, "connection_closed", (EOFError, httpx.WriteError)),
    _Row(Category.CONNECTION, "invalid_response", (httpx.RemoteProtocolError,)),
    _Row(Category.TIMEOUT, "timeout", (TimeoutError, httpx.TimeoutException)),
    _Row(Category.CONNECTION, "connection_failed", (OSError, httpx.TransportError)),
)


def classify_exception(exc: BaseException, *, streaming: bool) -> UpstreamError:
    """What an exception raised by the HTTP client, or by a timer around it, means.

    Args:
        exc: the exception; an `UpstreamError` is handed back as it is.
        streaming: whether the response's headers had arrived. From then on a broken connection
            is a truncated stream, whatever broke it: `stream_truncated` where the upstream closed
            it in an orderly way, `connection_lost` otherwise.

    Whatever does not come from the network is `internal`: a fault of ours, which no further
    attempt cures.
    """
    if isinstance(exc, UpstreamError):
        return exc
    category, code = _matched(exc)
    if streaming and (category is Category.CONNECTION or _gave_up(exc, category)):
        category = Category.TRUNCATED
        code = "stream_truncated" if _closed_in_order(exc) else "connection_lost"
    return UpstreamError(category, code, message=redact(str(exc) or type(exc).__name__))


def _matched(exc: BaseException) -> tuple[Category, str]:
    causes = tuple(_causes(exc))
    for row in _ROWS:
        if any(isinstance(cause, row.types) for cause in causes):
            return row.category, row.code
    return Category.INTERNAL, type(exc).__name__


def _gave_up(exc: BaseException, category: Category) -> bool:
    """Whether a timeout is the connection's own end, as the kernel's ETIMEDOUT after packets that
    nobody acknowledged, and no limit of ours: those have no errno.
    """
    if category is not Category.TIMEOUT:
        return False
    if not isinstance(exc, TimeoutError | httpx.TimeoutException):
        return True
    return any(isinstance(cause, OSError) and cause.errno is not None for cause in _causes(exc))


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_CHAIN_LIMIT):
        if exc is None:
            return
        yield exc
        exc = exc.__cause__


def _closed_in_order(exc: BaseException) -> bool:
    """Whether the upstream ended the connection (FIN) before it ended the body."""
    return isinstance(exc, httpx.RemoteProtocolError) and exc.__cause__ is None
