"""httpx's interface, and the pool of idle connections."""

import asyncio
import ssl

import httpx

from worker.transport.body import Body
from worker.transport.connection import Connection
from worker.transport.dialing import Dialer, LookUp, Route, look_up, proxy_authorization
from worker.transport.head import Head, encode
from worker.transport.proxies import Proxies

PORTS = {"http": 80, "https": 443}


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
        route = self._route(request.url)
        head = _encoded(request, route, len(content))
        connection, answer = await self._answered(route, head + content, timeouts)
        body = Body(connection, timeouts.get("read"), self._keep)
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=body,
            extensions={"http_version": b"HTTP/1.1", "body": body},
        )

    async def aclose(self) -> None:
        """Close all connections, those in use as well."""
        for connection in list(self.open):
            connection.abort()
        await asyncio.sleep(0)  # the loop closes their sockets in its next turn

    async def _answered(
        self, route: Route, request: bytes, timeouts: dict[str, float | None]
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
                await self._dialer.dial(route, connection, timeouts.get("connect"))
            return connection, await connection.exchange(request, timeouts.get("read"))
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


def _encoded(request: httpx.Request, route: Route, length: int) -> bytes:
    if route.proxy is None or route.tunnelled:
        return encode(request, request.url.raw_path, length, {})
    target = b"http://" + request.url.netloc + request.url.raw_path
    return encode(request, target, length, proxy_authorization(route.proxy))
