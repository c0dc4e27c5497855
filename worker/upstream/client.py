"""The process's HTTP client: httpx over connections of our own (`worker.transport`).

httpx's own pool rescans all connections at each request's start and end, which is superlinear in
open streams, and keeps slots of cancelled streams for ever (encode/httpcore issue 1093). This
module is the only one that knows what carries the bytes.
"""

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import httpx

from worker import __version__
from worker.errors import ConfigurationError
from worker.transport import Answer, Prepared, Transport

# How long an idle connection is kept for the next request to the same upstream.
KEEP_ALIVE_S = 30.0
# Of so many upstreams and keys the common part of requests is remembered.
MOST_PREPARED = 256


class _NoCookies(httpx.Cookies):
    """A jar that nothing gets into."""

    def extract_cookies(self, response: httpx.Response) -> None:
        """Leave the response's cookies where they are.

        httpx would first describe request and response to the jar of the standard library, which
        costs as much as to send the request.
        """


class Client(httpx.AsyncClient):
    """httpx's client without cookies, and with a short way for what is sent again and again."""

    def __init__(self, transport: Transport, connect_timeout_s: float) -> None:
        super().__init__(
            transport=transport,
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            follow_redirects=False,
            headers={"user-agent": f"deltaworks/{__version__}"},
        )
        self._wire = transport
        self._connect_timeout_s = connect_timeout_s
        self._prepared: dict[tuple[str, str | None], Prepared] = {}

    async def ask(
        self,
        url: str,
        key: str | None,
        common: dict[str, str],
        own: Iterable[tuple[bytes, bytes]],
        content: bytes,
    ) -> Answer:
        """The answer to a POST, with its head; its body must be closed.

        httpx needs longer to build a request than to send it: what requests to one URL have in
        common is built once.

        Args:
            url, key: where to, and with which key, if any.
            common: headers, the same for each request with that key there.
            own: headers of this one.
            content: its body.

        Raises:
            httpx.HTTPError, httpx.InvalidURL: what came in the way.
        """
        prepared = self._prepared.get((url, key))
        if prepared is None:
            authorization = {"authorization": f"Bearer {key}"} if key else {}
            request = self.build_request("POST", url, headers={**common, **authorization})
            if len(self._prepared) >= MOST_PREPARED:
                self._prepared.clear()
            prepared = self._prepared[url, key] = self._wire.prepare(request)
        return await self._wire.send(prepared, own, content, self._connect_timeout_s)

    @property
    def cookies(self) -> httpx.Cookies:
        """None, ever."""
        return _NO_COOKIES

    @cookies.setter
    def cookies(self, cookies: object) -> None:
        raise NotImplementedError


_NO_COOKIES = _NoCookies()


@asynccontextmanager
async def open_client(connect_timeout_s: float) -> AsyncIterator[Client]:
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
    client = Client(transport, connect_timeout_s)
    async with client:
        yield client
