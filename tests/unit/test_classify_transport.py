"""What the network does is told apart, before the headers and after them."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from worker.classify import classify_exception, is_transient
from worker.errors import Category, UpstreamError
from worker.transport import Transport

HEADERS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEADERS + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
SIZED = HEADERS + b"Content-Length: 100\r\n\r\nhello"

Client = asyncio.StreamWriter
Ending = Callable[[Client], None]


def reset(client: Client) -> None:
    """Close with RST instead of FIN: linger on, for 0 s."""
    connection = client.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.transport.abort()


def close(client: Client) -> None:
    client.close()


def stay_silent(_: Client) -> None:
    return None


@asynccontextmanager
async def upstream(
    answer: bytes, end: Ending, may_end: Callable[[], Awaitable[object]] | None = None
) -> AsyncIterator[str]:
    """A server that reads one request, sends `answer`, waits for `may_end` and then ends."""
    clients: list[Client] = []

    async def serve(reader: asyncio.StreamReader, client: Client) -> None:
        clients.append(client)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            client.write(answer)
            await client.drain()
            if may_end is not None:
                await may_end()
            end(client)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for client in clients:
            client.transport.abort()


async def failure(url: str, seen: asyncio.Event | None = None) -> tuple[UpstreamError, bool]:
    """Stream the URL and classify what is raised; also whether the headers had arrived."""
    streaming = False
    transport = Transport(ssl.create_default_context(), keep_alive_s=30)
    try:
        async with (
            httpx.AsyncClient(transport=transport, timeout=0.5) as client,
            client.stream("GET", url) as response,
        ):
            streaming = True
            async for _ in response.aiter_bytes():
                if seen is not None:
                    seen.set()
    except Exception as error:
        return classify_exception(error, streaming=streaming), streaming
    raise AssertionError("the stream ended as if all were well")


@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        (b"", reset, "connection_reset"),
        (b"", close, "connection_closed"),
        (HEADERS, close, "connection_closed"),
        (b"garbage\r\n\r\n", close, "invalid_response"),
    ],
)
async def test_a_connection_that_breaks_before_the_headers_is_a_connection_error(
    answer: bytes, end: Ending, code: str
) -> None:
    async with upstream(answer, end) as url:
        error, streaming = await failure(url)
    assert not streaming
    assert (error.category, error.code, error.status) == (Category.CONNECTION, code, None)
    assert is_transient(error)


@pytest.mark.parametrize(
    ("answer", "end", "code"),
    [
        (CHUNKED, reset, "connection_lost"),
        (SIZED, reset, "connection_lost"),
        (CHUNKED, close, "stream_truncated"),
        (CHUNKED + b"5\r\nhe", close, "stream_truncated"),
        (SIZED, close, "stream_truncated"),
    ],
)
async def test_a_connection_that_breaks_after_the_headers_is_a_truncated_stream(
    answer: bytes, end: Ending, code: str
) -> None:
    seen = asyncio.Event()
    async with upstream(answer, end, seen.wait) as url:
        error, streaming = await failure(url, seen)
    assert streaming
    assert (error.category, error.code) == (Category.TRUNCATED, code)
    assert is_transient(error)


async def test_a_body_that_cannot_be_decoded_is_a_truncated_stream() -> None:
    answer = HEADERS + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello"
    async with upstream(answer, close) as url:
        error, _ = await failure(url)
    assert (error.category, error.code) == (Category.TRUNCATED, "undecodable_body")


@pytest.mark.parametrize("answer", [b"", CHUNKED])
async def test_silence_is_a_timeout_before_and_inside_a_stream(answer: bytes) -> None:
    async with upstream(answer, stay_silent) as url:
        error, streaming = await failure(url)
    assert streaming is bool(answer)
    assert (error.category, error.code) == (Category.TIMEOUT, "read_timeout")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_port_where_nobody_listens_refuses_the_connection(host: str) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        error, _ = await failure(f"http://{host}:{bound.getsockname()[1]}")
    assert (error.category, error.code) == (Category.CONNECTION, "connection_refused")


async def test_a_server_that_does_not_accept_is_a_connect_timeout() -> None:
    with contextlib.ExitStack() as open_sockets:
        server = open_sockets.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):  # Linux queues one more than asked; then it answers no SYN
            waiting = open_sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        error, _ = await failure(f"http://127.0.0.1:{server.getsockname()[1]}")
    assert (error.category, error.code) == (Category.TIMEOUT, "connect_timeout")


async def test_a_name_that_does_not_resolve_is_a_dns_failure() -> None:
    error, _ = await failure("http://nowhere.invalid")
    assert (error.category, error.code) == (Category.CONNECTION, "dns_failure")


async def test_a_server_that_speaks_no_tls_is_a_tls_failure() -> None:
    async def answer_in_plain(reader: asyncio.StreamReader, client: Client) -> None:
        await reader.read(1)
        client.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        client.close()

    async with await asyncio.start_server(answer_in_plain, "127.0.0.1", 0) as server:
        error, _ = await failure(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert (error.category, error.code) == (Category.CONNECTION, "tls_failure")


async def test_an_address_that_is_no_url_is_a_bad_request() -> None:
    error, _ = await failure("ftp://127.0.0.1")
    assert (error.category, error.code) == (Category.BAD_REQUEST, "invalid_url")
    assert not is_transient(error)


async def test_our_own_timer_is_a_timeout() -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0):
            await asyncio.Event().wait()
    for streaming in (False, True):
        error = classify_exception(caught.value, streaming=streaming)
        assert (error.category, error.code) == (Category.TIMEOUT, "timeout")


@pytest.mark.parametrize(
    ("exc", "streaming", "category", "code"),
    [
        (httpx.ConnectTimeout(""), False, "timeout", "connect_timeout"),
        (httpx.ReadTimeout(""), True, "timeout", "read_timeout"),
        (httpx.WriteTimeout(""), False, "timeout", "write_timeout"),
        (httpx.PoolTimeout(""), False, "timeout", "pool_timeout"),
        (httpx.ConnectError(""), False, "connection", "connection_failed"),
        (httpx.ProxyError(""), False, "connection", "proxy_failure"),
        (httpx.ReadError(""), True, "truncated", "connection_lost"),
        (httpx.RemoteProtocolError(""), False, "connection", "invalid_response"),
        (httpx.RemoteProtocolError(""), True, "truncated", "stream_truncated"),
        (ssl.SSLCertVerificationError(""), False, "connection", "tls_failure"),
        (OSError(113, "No route to host"), False, "connection", "connection_failed"),
        (OSError(113, "No route to host"), True, "truncated", "connection_lost"),
        (OSError(110, "Connection timed out"), True, "truncated", "connection_lost"),
        (TimeoutError("ours"), True, "timeout", "timeout"),
        (ValueError("ours"), False, "internal", "ValueError"),
        (ValueError("ours"), True, "internal", "ValueError"),
    ],
)
def test_exceptions_of_other_transports_have_a_meaning_too(
    exc: Exception, streaming: bool, category: str, code: str
) -> None:
    error = classify_exception(exc, streaming=streaming)
    assert (error.category.value, error.code) == (category, code)


@pytest.mark.parametrize(
    "cause",
    [
        OSError(110, "Connection timed out"),
        OSError(113, "No route to host"),
        OSError(100, "Network is down"),
        TimeoutError("SSL shutdown timed out"),
        ssl.SSLError("bad record mac"),
        ConnectionResetError(),
        EOFError(),
    ],
    ids=repr,
)
def test_a_cut_in_mid_stream_is_a_truncated_stream_whatever_the_kernel_calls_it(
    cause: Exception,
) -> None:
    broken = httpx.ReadError("the connection broke")
    broken.__cause__ = cause
    error = classify_exception(broken, streaming=True)
    assert (error.category, error.code) == (Category.TRUNCATED, "connection_lost")
    assert classify_exception(broken, streaming=False).category is not Category.TRUNCATED


def test_an_exception_without_words_is_reported_by_its_type() -> None:
    assert classify_exception(httpx.ReadTimeout(""), streaming=True).message == "ReadTimeout"


def test_what_is_classified_already_stays_as_it_is() -> None:
    error = UpstreamError(Category.BILLING)
    assert classify_exception(error, streaming=True) is error


def test_a_chain_of_causes_that_runs_in_a_circle_comes_to_an_end() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert classify_exception(first, streaming=False).category is Category.INTERNAL
