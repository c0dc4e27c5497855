"""From a route to an open connection: DNS, TCP, a proxy's tunnel, TLS."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple
from urllib.parse import unquote

import aiohappyeyeballs
import httpx

from worker.transport.connection import Connection

# How long an address that was looked up holds; upstreams that move lower their records' life to a
# minute and more.
ADDRESS_LIFE_S = 10.0
# RFC 8305, "Happy Eyeballs", section 5: how long one address has before the next is tried as well.
NEXT_ADDRESS_S = 0.25

# As `getaddrinfo` has them.
Addresses = Sequence[tuple[Any, ...]]
# The addresses of a host and port; connections are made to no other.
LookUp = Callable[[str, int], Awaitable[Addresses]]


async def look_up(host: str, port: int) -> Addresses:
    """What the machine's resolver says.

    Raises:
        OSError: it knows no such name, or cannot say.
    """
    loop = asyncio.get_running_loop()
    return await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)


class Route(NamedTuple):
    """Where a request goes, and the proxy on the way; connections of one route are alike."""

    scheme: str
    host: str
    port: int
    proxy: httpx.URL | None

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken with the server."""
        return self.scheme == "https"

    @property
    def tunnelled(self) -> bool:
        """Whether the proxy only hands bytes through."""
        return self.proxy is not None and self.secure

    @property
    def authority(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Dialer:
    """Opens connections. Looks each name up once in a while, for all who ask meanwhile."""

    def __init__(self, tls: ssl.SSLContext, look_up: LookUp) -> None:
        self._tls = tls
        self._look_up = look_up
        self._looked_up: dict[tuple[str, int], asyncio.Future[Addresses]] = {}

    async def dial(self, route: Route, connection: Connection, timeout_s: float | None) -> None:
        """Connect `connection` by the route.

        Raises:
            httpx.ConnectTimeout: not within `timeout_s`, all steps together.
            httpx.ProxyError: the proxy refuses.
            httpx.ConnectError: everything else; the cause tells what.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._dial(route, connection)
        except TimeoutError:
            raise httpx.ConnectTimeout(f"no connection within {timeout_s:g} s") from None
        except OSError as error:  # gaierror and SSLError are OSErrors, too
            raise httpx.ConnectError(str(error) or type(error).__name__) from error

    async def _dial(self, route: Route, connection: Connection) -> None:
        proxy = route.proxy
        if proxy is None:
            await self._open(route.host, route.port, route.secure, connection)
            return
        port = proxy.port or (443 if proxy.scheme == "https" else 80)
        first = connection if not route.tunnelled else Connection()
        await self._open(proxy.host, port, proxy.scheme == "https", first)
        if route.tunnelled:
            try:
                await self._tunnel(route, first, connection)
            except BaseException:
                first.abort()
                raise

    async def _open(self, host: str, port: int, secure: bool, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        addresses = await self._addresses(host, port)
        opened = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=NEXT_ADDRESS_S, loop=loop
        )
        try:
            await loop.create_connection(
                lambda: connection,
                sock=opened,
                ssl=self._tls if secure else None,
                server_hostname=host if secure else None,
            )
        except BaseException:
            opened.close()
            raise

    async def _tunnel(self, route: Route, through: Connection, connection: Connection) -> None:
        """Have the proxy connect to the server, then speak TLS with that."""
        assert route.proxy is not None
        authority = route.authority.encode("ascii")
        lines = [b"CONNECT %b HTTP/1.1" % authority, b"host: %b" % authority]
        lines += [b"%b: %b" % header for header in proxy_authorization(route.proxy).items()]
        answer = await through.exchange(b"\r\n".join(lines) + b"\r\n\r\n", None)
        if not httpx.codes.is_success(answer.status):
            raise httpx.ProxyError(f"the proxy answered {answer.status} to CONNECT")
        transport = await asyncio.get_running_loop().start_tls(
            through.detach(), connection, self._tls, server_hostname=route.host
        )
        assert transport is not None
        connection.connection_made(transport)

    async def _addresses(self, host: str, port: int) -> Addresses:
        looking = self._looked_up.get((host, port))
        if looking is None:
            looking = asyncio.ensure_future(self._look_up(host, port))
            self._looked_up[host, port] = looking
            loop = asyncio.get_running_loop()
            loop.call_later(ADDRESS_LIFE_S, self._forget, host, port, looking)
        try:
            return await asyncio.shield(looking)
        except OSError:
            self._forget(host, port, looking)
            raise

    def _forget(self, host: str, port: int, looking: asyncio.Future[Addresses]) -> None:
        if self._looked_up.get((host, port)) is looking:
            del self._looked_up[host, port]


def proxy_authorization(proxy: httpx.URL) -> dict[bytes, bytes]:
    """The header that says who asks, where the proxy's URL names somebody."""
    if not proxy.userinfo:
        return {}
    token = base64.b64encode(unquote(proxy.userinfo.decode("ascii")).encode())
    return {b"proxy-authorization": b"Basic " + token}
