"""A server for tests of the transport: says exactly what it is told to, and remembers."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.wire import until

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter


class Server:
    """Counts connections, keeps the heads and bodies of requests as they came."""

    def __init__(self, answer: "Answer") -> None:
        self._answer = answer
        self.connections = 0
        self.open = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.port = 0
        self._writers: set[Writer] = set()

    async def serve(self, reader: Reader, writer: Writer) -> None:
        """Answer requests until the client goes, or the answer closed the connection."""
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while not writer.is_closing():
                    await self._serve_one(reader, writer)
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def stop(self) -> None:
        """Break off all connections."""
        for writer in list(self._writers):
            writer.transport.abort()
        await until(lambda: not self._writers)

    async def _serve_one(self, reader: Reader, writer: Writer) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = next(
            (
                int(line[15:])
                for line in head.lower().split(b"\r\n")
                if line[:15] == b"content-length:"
            ),
            0,
        )
        self.bodies.append(await reader.readexactly(length))
        await self._answer(writer)
        await writer.drain()


Answer = Callable[[Writer], Awaitable[None]]


def saying(*pieces: bytes, close: bool = False) -> Answer:
    """An answer of these pieces, each a write of its own."""

    async def answer(writer: Writer) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


@asynccontextmanager
async def serving(
    answer: Answer, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Server]:
    """The server, listening."""
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, host, 0, ssl=tls)
    async with listening:
        server.port = listening.sockets[0].getsockname()[1]
        try:
            yield server
        finally:
            await server.stop()
