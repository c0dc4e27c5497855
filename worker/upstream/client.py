"""The process's HTTP client: httpx over connections of our own (`worker.transport`).

httpx's own pool rescans all connections at each request's start and end, which is superlinear in
open streams, and keeps slots of cancelled streams for ever (encode/httpcore issue 1093). This
module is the only one that knows what carries the bytes.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from worker import __version__
from worker.errors import ConfigurationError
from worker.transport import Transport

# How long an idle connection is kept for the next request to the same upstream.
KEEP_ALIVE_S = 30.0


@asynccontextmanager
async def open_client(connect_timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a limit of connections: how many streams run is decided elsewhere.

    The proxy variables of the environment are honoured, redirects and cookies are not: either
    could send a key where it does not belong.

    Raises:
        ConfigurationError: the environment names a proxy of a kind that is not known.
    """
    tls = ssl.create_default_context()
    tls.set_alpn_protocols(["http/1.1"])
    try:
        transport = Transport(tls, KEEP_ALIVE_S)
    except httpx.UnsupportedProtocol as error:
        raise ConfigurationError(str(error)) from None
    client = _Client(
        transport=transport,
        timeout=httpx.Timeout(None, connect=connect_timeout_s),
        follow_redirects=False,
        headers={"user-agent": f"deltaworks/{__version__}"},
    )
    async with client:
        yield client


class _NoCookies(httpx.Cookies):
    """A jar that nothing gets into."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave the response's cookies where they are.

        httpx would first describe request and response to the jar of the standard library, which
        costs as much as to send the request.
        """


class _Client(httpx.AsyncClient):
    """A client without cookies."""

    @property
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise NotImplementedError


_NO_COOKIES = _NoCookies()
