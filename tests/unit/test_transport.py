"""The transport keeps HTTP/1.1's rules, whatever the pieces in which bytes come."""

import asyncio
import socket
import ssl
import threading

import httpx
import pytest

from tests.upstream_server import Server, saying, serving
from tests.wire import until
from worker.transport import Body, Transport

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = HEAD + b"Content-Length: 5\r\n\r\nhello"


TLS = ssl.create_default_context()


def client_of(keep_alive_s: float = 30, timeout: float | None = 5) -> httpx.AsyncClient:
    transport = Transport(TLS, keep_alive_s)
    return httpx.AsyncClient(transport=transport, timeout=timeout)


def url(server: Server) -> str:
    return f"http://127.0.0.1:{server.port}/v1/chat/completions?a=b"


async def pushed(client: httpx.AsyncClient, to: str) -> bytes:
    """The body as the pushing way has it."""
    pieces: list[bytes] = []
    async with client.stream("POST", to, content=b"{}") as response:
        body: Body = response.extensions["body"]
        assert not await body.push(pieces.append)
    return b"".join(pieces)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (SIZED, b"hello"),
        (CHUNKED + b"5\r\nhello\r\n6;ext=1\r\n world\r\n0\r\nTrailer: x\r\n\r\n", b"hello world"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + SIZED,
            b"hello",
        ),
        (HEAD + b"Content-Length: 0\r\n\r\n", b""),
    ],
    ids=["sized", "chunked", "after interim answers", "empty"],
)
async def test_a_body_is_the_same_at_every_split_of_the_answer(answer: bytes, text: bytes) -> None:
    for at in range(1, len(answer)):
        async with serving(saying(answer[:at], answer[at:])) as server, client_of() as client:
            assert await pushed(client, url(server)) == text
            assert (await client.post(url(server))).content == text
            assert server.connections == 1


async def test_a_body_without_a_length_ends_with_the_connection() -> None:
    async with (
        serving(saying(HEAD + b"\r\nhel", b"lo", close=True)) as server,
        client_of() as client,
    ):
        assert await pushed(client, url(server)) == b"hello"
        assert (await client.get(url(server))).content == b"hello"
        assert server.connections == 2


async def test_the_request_goes_out_as_httpx_built_it() -> None:
    async with serving(saying(SIZED)) as server, client_of() as client:
        await client.post(url(server), content=b'{"a":1}', headers={"X-Key": "value"})
    head = server.heads[0]
    assert head.startswith(b"POST /v1/chat/completions?a=b HTTP/1.1\r\n")
    assert b"Host: 127.0.0.1:" in head
    assert b"X-Key: value\r\n" in head
    assert head.lower().count(b"content-length: 7\r\n") == 1
    assert server.bodies == [b'{"a":1}']


@pytest.mark.parametrize(
    ("answer", "close"),
    [
        (HEAD + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello", False),
        (SIZED + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", False),
        (SIZED, True),
    ],
    ids=["asked to be closed", "said more than was asked", "closed"],
)
async def test_such_a_connection_is_not_used_again(answer: bytes, close: bool) -> None:
    async with serving(saying(answer, close=close)) as server, client_of() as client:
        for _ in range(3):
            assert (await client.post(url(server))).content == b"hello"
            await until(lambda: server.open == 0)
    assert server.connections == 3


async def test_a_close_that_the_loop_has_not_come_to_yet_is_seen_before_a_request_is_sent() -> None:
    answered, closed = threading.Event(), threading.Event()

    def serve_two(listener: socket.socket) -> None:
        for _ in range(2):
            peer, _ = listener.accept()
            with peer:
                peer.recv(65536)
                peer.sendall(SIZED)
                answered.wait(5)
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        serving_two = asyncio.create_task(asyncio.to_thread(serve_two, listener))
        async with client_of() as client:
            assert (await client.post(address)).content == b"hello"
            answered.set()
            closed.wait(5)  # and the loop stands still meanwhile
            assert (await client.post(address)).content == b"hello"
        await serving_two


@pytest.mark.parametrize("beginning", [b"", b"H"], ids=["silent", "after a byte"])
async def test_a_request_is_sent_once_though_its_kept_connection_breaks(beginning: bytes) -> None:
    answers = iter([SIZED, beginning, SIZED])

    async def answer(writer: asyncio.StreamWriter) -> None:
        said = next(answers)
        writer.write(said)
        if said == beginning:
            writer.close()

    async with serving(answer) as server, client_of() as client:
        await client.post(url(server))
        with pytest.raises(httpx.ReadError):
            await client.post(url(server))
    assert len(server.heads) == 2


async def test_a_connection_whose_body_was_not_read_to_its_end_is_closed() -> None:
    async with serving(saying(CHUNKED, b"5\r\nhello\r\n")) as server, client_of() as client:
        async with client.stream("POST", url(server)) as response:
            body: Body = response.extensions["body"]
            assert await body.push(lambda data: data == b"hello")
        await until(lambda: server.open == 0)


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with serving(saying(SIZED)) as server, client_of(keep_alive_s=0.05) as client:
        await client.post(url(server))
        await until(lambda: server.open == 0)
        await client.post(url(server))
    assert server.connections == 2


async def test_closing_the_client_closes_every_connection() -> None:
    async with serving(saying(SIZED)) as server:
        async with client_of() as client:
            await asyncio.gather(*(client.post(url(server)) for _ in range(5)))
            assert server.open == 5
        await until(lambda: server.open == 0)


@pytest.mark.parametrize("value", ["a\r\nX-Other: b", "a\nb", "a\0b"])
async def test_a_header_that_would_break_its_line_is_refused_without_telling_its_value(
    value: str,
) -> None:
    async with serving(saying(SIZED)) as server, client_of() as client:
        with pytest.raises(httpx.LocalProtocolError, match="authorization") as caught:
            await client.post(url(server), headers={"authorization": f"Bearer {value}"})
        assert server.connections == 0
    assert "Bearer" not in str(caught.value)


async def test_endless_headers_are_refused() -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        while True:
            writer.write(b"X-More: " + b"x" * 1000 + b"\r\n")
            await writer.drain()

    async with serving(answer) as server, client_of() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="headers are too large"):
            await client.post(url(server))


async def test_a_body_that_nobody_reads_waits_in_the_socket() -> None:
    size, sent = 64 * 1024 * 1024, 0

    async def answer(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % size)
        piece = b"x" * 65_536
        while sent < size:
            writer.write(piece)
            sent += len(piece)
            await writer.drain()

    async with (
        serving(answer) as server,
        client_of() as client,
        client.stream("GET", url(server)) as response,
    ):
        before = -1
        while before != sent:  # until it comes no further
            before = sent
            await asyncio.sleep(0.2)
        assert sent < size / 2
        received = sum([len(data) async for data in response.aiter_bytes()])
    assert received == size


async def test_waiting_for_the_head_ends_with_the_read_timeout() -> None:
    async with serving(saying()) as server, client_of(timeout=0.05) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(url(server))
        await until(lambda: server.open == 0)


async def test_an_error_of_whoever_takes_the_body_ends_the_exchange() -> None:
    def take(data: bytes) -> None:
        raise LookupError(data)

    async with serving(saying(CHUNKED, b"5\r\nhello\r\n")) as server, client_of() as client:
        with pytest.raises(LookupError):
            async with client.stream("POST", url(server)) as response:
                await response.extensions["body"].push(take)
        await until(lambda: server.open == 0)


async def test_the_next_address_is_tried_where_one_refuses(
    free_port_host: str = "localhost",
) -> None:
    # localhost is ::1 as well on most systems, where nothing listens.
    async with serving(saying(SIZED)) as server, client_of() as client:
        answer = await client.post(f"http://{free_port_host}:{server.port}/")
    assert answer.content == b"hello"


async def test_nothing_is_left_of_two_thousand_cancelled_requests() -> None:
    """In every phase: connecting, waiting for the head, in the body, after it; some twice."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.002)
        writer.write(CHUNKED)
        for _ in range(5):
            writer.write(b"5\r\nhello\r\n")
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.write(b"0\r\n\r\n")

    async def one(client: httpx.AsyncClient, server: Server, number: int) -> None:
        task = asyncio.create_task(pushed(client, url(server)))
        loop = asyncio.get_running_loop()
        loop.call_later(number % 97 / 97 * 0.03, task.cancel)
        if number % 3 == 0:
            loop.call_later(number % 97 / 97 * 0.03 + 0.0005, task.cancel)
        await asyncio.gather(task, return_exceptions=True)

    async with serving(answer) as server, client_of() as client:
        for begin in range(0, 2000, 100):
            await asyncio.gather(*(one(client, server, begin + n) for n in range(100)))
        assert await pushed(client, url(server)) == b"hello" * 5
        transport = client._transport
        assert isinstance(transport, Transport)
        await until(lambda: server.open == len(transport.open))
        assert len(transport.open) <= 100  # idle ones, kept for others
        others = [task for task in asyncio.all_tasks() if "pushed" in repr(task)]
        assert not others
