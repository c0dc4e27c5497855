"""`python -m ops.bench.gateway.connections FILE`: many HTTP requests at once, read to their end.

Reads a `Plan` as JSON from its standard input, says `connected` when every response has begun,
and writes FILE when all have ended: what arrived of each and when, as MessagePack, for `arrivals`.
Nothing is decoded while others are measured.
"""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import uvloop

from worker.sockets import allow_many_sockets

# How many connect at a time.
AT_ONCE = 100


class Request(msgspec.Struct, frozen=True):
    """One request; `body` is JSON or empty."""

    method: str
    path: str
    body: str = ""

    def encoded(self, host: str) -> bytes:
        """As it goes over the wire; the server is to close the connection at the end."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"host: {host}", "connection: close"]
        if self.body:
            lines += ["content-type: application/json", f"content-length: {len(self.body)}"]
        return "\r\n".join([*lines, "", self.body]).encode()


class Plan(msgspec.Struct, frozen=True):
    """Where all requests go."""

    host: str
    port: int
    requests: list[Request]


class Response(msgspec.Struct):
    """What arrived, with its time in ns since the epoch."""

    pieces: list[tuple[int, bytes]] = msgspec.field(default_factory=list)


class Frame(msgspec.Struct, frozen=True):
    """A server-sent event, with the time at which the last of it arrived."""

    at_ns: int
    id: str
    event: str
    data: bytes


class Connection(asyncio.Protocol):
    """One request and its response."""

    def __init__(self, request: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.response = Response()
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        transport.write(self._request)  # type: ignore[attr-defined] # uvloop's own class

    def data_received(self, data: bytes) -> None:
        """Keep it."""
        self.response.pieces.append((time.time_ns(), data))
        if not self.begun.done():
            self.begun.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """All there is."""
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)


def arrivals(response: Response) -> Iterator[Frame]:
    """The response's events.

    Raises:
        RuntimeError: it is no stream of events that came to its end.
    """
    body = bytearray()
    for at_ns, piece in _unchunked(response.pieces):
        body += piece.replace(b"\r\n", b"\n")
        while (end := body.find(b"\n\n")) >= 0:
            fields = [line.partition(b":")[::2] for line in bytes(body[:end]).split(b"\n")]
            del body[: end + 2]
            found = {name: value.removeprefix(b" ") for name, value in fields}
            if b"data" in found:
                id, event = found.get(b"id", b"").decode(), found.get(b"event", b"").decode()
                yield Frame(at_ns, id, event, found[b"data"])


def _unchunked(pieces: Sequence[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    raw, in_body = bytearray(), False
    for at_ns, piece in pieces:
        raw += piece
        if not in_body:
            head, found, rest = bytes(raw).partition(b"\r\n\r\n")
            if not found:
                continue
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"answered {bytes(raw[:500])!r}")
            raw, in_body = bytearray(rest), True
        while (line_end := raw.find(b"\r\n")) >= 0:
            size = int(raw[:line_end], 16)
            if len(raw) < line_end + size + 4:
                break
            if size == 0:
                return
            yield at_ns, bytes(raw[line_end + 2 : line_end + 2 + size])
            del raw[: line_end + size + 4]
    raise RuntimeError(f"a response without an end: {bytes(raw[-200:])!r}")


async def read() -> list[Response]:
    """Connect as the plan on standard input says, say so, and wait for all ends."""
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    loop, gate = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE)
    host = f"{plan.host}:{plan.port}"

    async def connect(request: Request) -> Connection:
        async with gate:
            encoded = request.encoded(host)
            _, connection = await loop.create_connection(
                lambda: Connection(encoded), plan.host, plan.port
            )
            await connection.begun
            return connection

    connections = await asyncio.gather(*map(connect, plan.requests))
    sys.stdout.write("connected\n")
    sys.stdout.flush()
    for connection in connections:
        await connection.ended
    return [connection.response for connection in connections]


if __name__ == "__main__":
    allow_many_sockets()
    Path(sys.argv[1]).write_bytes(msgspec.msgpack.encode(uvloop.run(read())))
