"""A receiver of webhooks over real sockets: keeps what came, answers as it is told to."""

import asyncio
import base64
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from standardwebhooks import Webhook

SECRET = "whsec_" + base64.b64encode(b"canary-secret-of-32-bytes-exactly").decode()
HANGS = 0


class Received(NamedTuple):
    """One request; header names in lower case."""

    line: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """Answers the next request with the next of `answers`, a status or raw bytes; then with 204.

    To `HANGS` it says nothing until the client goes.
    """

    def __init__(self, answers: Sequence[int | bytes] = ()) -> None:
        self.answers = deque(answers)
        self.received: list[Received] = []
        self.connections = 0
        self.port = 0
        self._open: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook?token=canary-query"

    def events(self, secret: str = SECRET) -> list[dict[str, Any]]:
        """What came, each verified by the receiver's own library."""
        return [Webhook(secret).verify(one.body, one.headers) for one in self.received]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while not writer.is_closing():
                await self._serve_one(reader, writer)
        self._open.discard(writer)
        writer.close()

    def stop(self) -> None:
        for writer in self._open:
            writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head)
        }
        body = await reader.readexactly(int(headers["content-length"]))
        self.received.append(Received(head[0], headers, body))
        answer = self.answers.popleft() if self.answers else 204
        if answer == HANGS:
            await reader.read()
        elif isinstance(answer, bytes):
            writer.write(answer)
            writer.close()
        else:
            writer.write(b"HTTP/1.1 %d Said\r\ncontent-length: 0\r\n\r\n" % answer)
        await writer.drain()


@asynccontextmanager
async def receiving(
    *answers: int | bytes, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """The receiver, listening on loopback."""
    receiver = Receiver(answers)
    listening = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        receiver.port = listening.sockets[0].getsockname()[1]
        try:
            yield receiver
        finally:
            receiver.stop()
