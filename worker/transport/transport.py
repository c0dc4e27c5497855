"""httpx's interface, and the pool of idle connections."""

import asyncio
import ssl
from typing import NamedTuple

import httpx

from worker.transport.body import Body
from worker.transport.connection import Connection
from worker.transport.dialing import Dialer, LookUp, Route, look_up, proxy_authorization
from worker.transport.head import Head, Headers, beginning, end, lines
from worker.transport.proxies import Proxies

PORTS = {"http": 80, "https": 443}


class Prepared(NamedTuple):
    """What all requests of one kind have in common: the way, the method, most headers."""

    route: Route
    method: str
    beginning: bytes


class Answer(NamedTuple):
    """A response whose head has come."""

    head: Head
    body: Body

    def response(self) -> httpx.Response:
        """As httpx knows it; its `extensions` hold the body."""
        return httpx.Response(
            self.head.status,
            headers=self.head.headers,
            stream=self.body,
            extensions={"http_version": b"HTTP/1.1", "body": self.body},
        )


class Transport(httpx.AsyncBaseTransport):
    """HTTP/1.1 for `httpx.AsyncClient`, with as many connections as there are requests.

    How many requests run is decided elsewhere, so nothing ever waits for a connection. Idle ones
    are kept for `keep_alive_s` seconds, the latest used first. A response's `extensions` hold
    its `Body` under `body`, for those who want it pushed.

    Of httpx's timeouts `connect` bounds everything up to the request, `read` the wait for the
    head and for each piece of an iterated body; the others do not apply: a request is handed to
    the socket whole, and there is no pool to wait for.

    Args:
        tls: whom to trust.
        keep_alive_s: see above.
        look_up: a host's addresses.
        direct: whether the environment's proxies are left aside.

    Attributes:
        open: the connections that are open or being opened, and where they lead.

    Raises:
        httpx.UnsupportedProtocol: the environment names a proxy of a kind that is not known.
    """

    def __init__(
        self,
        tls: ssl.SSLContext,
        keep_alive_s: float,
        *,
        look_up: LookUp = look_up,
        direct: bool = False,
    ) -> None:
        self._proxies = None if direct else Proxies()
        self._dialer = Dialer(tls, look_up)
        self._keep_alive_s = keep_alive_s
        self.open: dict[Connection, Route] = {}
        self._idle: dict[Route, dict[Connection, asyncio.TimerHandle]] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request; the response is there with its head.

        Raises:
            httpx.TransportError: what came in the way. Its cause says what happened below.
        """
        timeouts = request.extensions.get("timeout", {})
        content = await _content(request)
        answer = await self.send(
            self.prepare(request), (), content, timeouts.get("connect"), timeouts.get("read")
        )
        return answer.response()

    def prepare(self, request: httpx.Request) -> Prepared:
        """What the request has in common with others like it, for `send`.

        Raises:
            httpx.UnsupportedProtocol, httpx.LocalProtocolError: its URL or headers do not work.
        """
        route, url = self._route(request.url), request.url
        target, headers = url.raw_path, request.headers.raw
        if route.proxy is not None and not route.tunnelled:
            target = b"http://" + url.netloc + url.raw_path
            headers = [*headers, *proxy_authorization(route.proxy).items()]
        return Prepared(route, request.method, beginning(request.method, target, headers))

    async def send(
        self,
        prepared: Prepared,
        headers: Headers,
        content: bytes,
        connect_timeout_s: float | None,
        read_timeout_s: float | None = None,
    ) -> Answer:
        """As `handle_async_request`, for a request like one that was prepared.

        Args:
            prepared: what it has in common with that.
            headers: its own.
            content: its body.
            connect_timeout_s, read_timeout_s: see the class.
        """
        method = prepared.method
        head = b"%b%b%b" % (prepared.beginning, lines(headers), end(method, len(content)))
        request = head + content
        connection, answer = await self._answered(
            prepared.route, request, connect_timeout_s, read_timeout_s
        )
        return Answer(answer, Body(connection, read_timeout_s, self._keep))

    async def aclose(self) -> None:
        """Close all connections, those in use as well."""
        for connection in list(self.open):
            connection.abort()
        await asyncio.sleep(0)  # the loop closes their sockets in its next turn

    async def _answered(
        self,
        route: Route,
        request: bytes,
        connect_timeout_s: float | None,
        read_timeout_s: float | None,
    ) -> tuple[Connection, Head]:
        """Send the request by an idle connection or a new one; that, and the answer's head.

        It is sent once: where an idle connection turns out to be closed when the request is on its
        way, nobody can say whether a server has read it, and whom it would be charged to twice.
        """
        kept = self._kept(route)
        connection = kept or Connection(self._forget)
        try:
            if kept is None:
                self.open[connection] = route
                await self._dialer.dial(route, connection, connect_timeout_s)
            return connection, await connection.exchange(request, read_timeout_s)
        except BaseException:
            connection.abort()
            self._forget(connection)
            raise

    def _route(self, url: httpx.URL) -> Route:
        if url.scheme not in PORTS:
            raise httpx.UnsupportedProtocol(f"{url.scheme}: not http or https")
        host = url.raw_host.decode("ascii")
        proxy = None if self._proxies is None else self._proxies.proxy_for(url)
        return Route(url.scheme, host, url.port or PORTS[url.scheme], proxy)

    def _kept(self, route: Route) -> Connection | None:
        idle = self._idle.get(route)
        while idle:
            connection, expiry = idle.popitem()
            expiry.cancel()
            if not connection.has_news():
                return connection
            connection.abort()
            self._forget(connection)
        return None

    def _keep(self, connection: Connection) -> None:
        route = self.open.get(connection)
        if route is None or not connection.idle:
            connection.abort()
            return
        expiry = asyncio.get_running_loop().call_later(self._keep_alive_s, connection.abort)
        self._idle.setdefault(route, {})[connection] = expiry

    def _forget(self, connection: Connection) -> None:
        route = self.open.pop(connection, None)
        if route is None:
            return
        idle = self._idle.get(route, {})
        expiry = idle.pop(connection, None)
        if expiry is not None:
            expiry.cancel()
        if not idle:
            self._idle.pop(route, None)


async def _content(request: httpx.Request) -> bytes:
    assert isinstance(request.stream, httpx.AsyncByteStream)
    return b"".join([part async for part in request.stream])
