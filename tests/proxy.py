"""A TCP proxy before a server: holds back what goes through it, or cuts it at the worst moment."""

import asyncio
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Between a client and a server on loopback.

    Attributes:
        url: the server's, with the proxy's port.
        requests: bytes that clients have sent through it so far, one item a read.
    """

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._answers = asyncio.Event()
        self._answers.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = asyncio.Event()
        self._cut_at: bytes | None = None
        self.requests: list[bytes] = []
        self.cuts = 0

    async def __aenter__(self) -> Self:
        await self.up()
        user, at, _ = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=f"{user}{at}127.0.0.1:{self._port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Take connections, again on the same port."""
        self._closing.clear()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Refuse connections, and cut those there are."""
        assert self._server is not None
        self._server.close()
        self._closing.set()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def hold(self) -> None:
        """Keep the server's answers back; requests go through."""
        self._answers.clear()

    def release(self) -> None:
        """Let the answers go."""
        self._answers.set()

    def cut_after_request(self, marker: bytes) -> None:
        """Let the next request that holds `marker` be carried out, and cut before its answer."""
        self._cut_at = marker

    async def _connected(
        self, client_in: asyncio.StreamReader, client_out: asyncio.StreamWriter
    ) -> None:
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            server_in, server_out = await asyncio.open_connection(
                self._target.hostname, self._target.port
            )
        except OSError:  # the server is down: so is its proxy
            client_out.close()
            self._tasks.discard(task)
            return
        doomed = asyncio.Event()
        ways = {
            asyncio.create_task(self._requests(client_in, server_out, doomed)),
            asyncio.create_task(self._replies(server_in, client_out, doomed)),
            asyncio.create_task(self._until_closed()),
        }
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.wait(ways)
        for writer in (client_out, server_out):
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
        self._tasks.discard(task)

    async def _until_closed(self) -> None:
        await self._closing.wait()

    async def _requests(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 20):
                self.requests.append(data)
                if self._cut_at is not None and self._cut_at in data:
                    self._cut_at = None
                    doomed.set()
                sink.write(data)
                await sink.drain()

    async def _replies(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(1 << 20):
                await self._answers.wait()
                if doomed.is_set():
                    self.cuts += 1
                    return
                sink.write(data)
                await sink.drain()
