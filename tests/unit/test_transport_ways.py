"""Ways to a server: TLS, and the proxies that the environment names."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import trustme

from tests.upstream_server import Server, saying, serving
from worker.classify import classify_exception
from worker.errors import ConfigurationError
from worker.transport import Transport
from worker.upstream import open_client

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def client_of(tls: ssl.SSLContext) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=Transport(tls, keep_alive_s=30), timeout=5)


class Proxy:
    """An HTTP proxy that tunnels and forwards, and remembers the heads it was sent."""

    def __init__(self, authorization: bytes | None = None) -> None:
        self.heads: list[bytes] = []
        self.port = 0
        self._authorization = authorization

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head)
            if self._authorization is not None and self._authorization not in head:
                writer.write(
                    b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
                )
            elif head.startswith(b"CONNECT "):
                host, _, port = head.split()[1].decode().rpartition(":")
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
            else:
                writer.write(ANSWER.replace(b"hello", b"proxy"))
            await writer.drain()
        writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def proxying(proxy: Proxy) -> AsyncIterator[Proxy]:
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as listening:
        proxy.port = listening.sockets[0].getsockname()[1]
        yield proxy


async def hello(client: httpx.AsyncClient, url: str) -> bytes:
    return (await client.post(url, content=b"{}")).content


async def test_tls_is_spoken_where_the_url_says_so(server_tls, trusting) -> None:
    async with serving(saying(ANSWER), server_tls) as server, client_of(trusting) as client:
        for _ in range(3):
            assert await hello(client, f"https://localhost:{server.port}/") == b"hello"
        assert server.connections == 1


async def test_a_stream_over_tls_is_pushed_whole(server_tls, trusting) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    pieces = [b"5\r\nhello\r\n"] * 50
    answer = saying(head, *pieces, b"0\r\n\r\n")
    async with serving(answer, server_tls) as server, client_of(trusting) as client:
        got: list[bytes] = []
        url = f"https://127.0.0.1:{server.port}/"
        async with client.stream("GET", url) as response:
            await response.extensions["body"].push(got.append)
    assert b"".join(got) == b"hello" * 50


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2"])
async def test_a_certificate_that_is_not_trusted_or_not_its_own_is_a_tls_failure(
    server_tls, trusting, host: str
) -> None:
    tls = ssl.create_default_context() if host == "localhost" else trusting
    async with (
        serving(saying(ANSWER), server_tls, host="0.0.0.0") as server,
        client_of(tls) as client,
    ):
        with pytest.raises(httpx.ConnectError) as caught:
            await hello(client, f"https://{host}:{server.port}/")
    assert classify_exception(caught.value, streaming=False).code == "tls_failure"
    assert not server.heads


async def test_a_server_that_never_shakes_hands_is_a_connect_timeout(trusting) -> None:
    async with serving(saying()) as server:
        transport = Transport(trusting, keep_alive_s=30)
        timeout = httpx.Timeout(None, connect=0.1)
        async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
            with pytest.raises(httpx.ConnectTimeout):
                await hello(client, f"https://localhost:{server.port}/")
        assert not transport.open


async def test_a_tunnel_through_the_proxy_carries_tls(server_tls, trusting, monkeypatch) -> None:
    async with serving(saying(ANSWER), server_tls) as server, proxying(Proxy()) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with client_of(trusting) as client:
            for _ in range(3):
                assert await hello(client, f"https://localhost:{server.port}/") == b"hello"
    assert len(proxy.heads) == 1
    assert proxy.heads[0].startswith(b"CONNECT localhost:%d HTTP/1.1\r\n" % server.port)
    assert b"proxy" not in server.heads[0].lower()


async def test_a_plain_request_goes_to_the_proxy_with_its_whole_url_and_our_name(
    trusting, monkeypatch
) -> None:
    async with proxying(Proxy(authorization=b"Basic bWU6cEBzcw==")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        async with client_of(trusting) as client:
            assert await hello(client, "http://upstream.test:8000/v1/x?y=z") == b"proxy"
    assert proxy.heads[0].startswith(b"POST http://upstream.test:8000/v1/x?y=z HTTP/1.1\r\n")
    assert b"Host: upstream.test:8000\r\n" in proxy.heads[0]


async def test_a_proxy_that_refuses_is_a_proxy_failure(server_tls, trusting, monkeypatch) -> None:
    refusing = Proxy(authorization=b"Basic other")
    async with serving(saying(ANSWER), server_tls) as server, proxying(refusing) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        async with client_of(trusting) as client:
            with pytest.raises(httpx.ProxyError, match="407") as caught:
                await hello(client, f"https://localhost:{server.port}/")
    assert classify_exception(caught.value, streaming=False).code == "proxy_failure"
    assert not server.heads


async def test_hosts_without_a_proxy_are_reached_directly(trusting, monkeypatch) -> None:
    async with serving(saying(ANSWER)) as server, proxying(Proxy()) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
        async with client_of(trusting) as client:
            assert await hello(client, f"http://127.0.0.1:{server.port}/") == b"hello"
    assert not proxy.heads


async def test_a_kind_of_proxy_that_is_not_known_is_refused_at_the_start(monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match=r"HTTPS_PROXY: socks5://.*http://"):
        async with open_client(1.0):
            pass


async def test_cookies_of_an_upstream_are_not_sent_back() -> None:
    answer = ANSWER.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n")
    async with serving(saying(answer)) as server, open_client(5.0) as client:
        for _ in range(2):
            await _said_by(client, server)
    assert not any(b"cookie" in head.lower() for head in server.heads)


async def _said_by(client: httpx.AsyncClient, server: Server) -> bytes:
    return await hello(client, f"http://127.0.0.1:{server.port}/")
