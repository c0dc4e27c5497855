"""Server-sent events as a browser reads them, by the letter of the HTML standard."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Frame(NamedTuple):
    """One event: its id, its name, and its data."""

    id: str
    event: str
    data: Any


class Parser:
    """Takes lines; `retry_ms` and `comments` are what else was said."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.comments = 0
        self._fields: dict[str, str] = {}

    def take(self, line: str) -> Frame | None:
        """The event that the line completes, if it does."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            self.comments += name == ""
            if name == "retry":
                self.retry_ms = int(value)
            elif name:
                assert name not in self._fields, f"{name} twice in one event"
                self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return Frame(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))


def frames_of(body: bytes) -> list[Frame]:
    """The events of a whole response, which ends between two of them."""
    assert body.endswith(b"\n\n"), body[-200:]
    parser = Parser()
    return [frame for line in body.decode().split("\n") if (frame := parser.take(line))]


async def frames(
    lines: AsyncIterator[str], parser: Parser | None = None
) -> AsyncGenerator[Frame, None]:
    """The events as they come."""
    parser = parser or Parser()
    async for line in lines:
        if frame := parser.take(line.rstrip("\r\n")):
            yield frame


def text_of(frames: Iterable[Frame]) -> str:
    """Choice 0's text, as who hears these events holds it."""
    text = ""
    for frame in frames:
        if frame.event == "started":
            text = ""
        elif frame.event == "delta" and frame.data.get("choice", 0) == 0:
            text += frame.data.get("text") or ""
    return text


class EventSource:
    """A browser's: it comes again with the last id, until it is told that there is no more.

    Attributes:
        heard: the data of the events, in order, as they came over any connection.
        connections: how many it has had.
        status: of the last answer.
    """

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.connections = 0
        self.status = 0
        self._last_id = b""
        self._retry_s = 3.0

    async def run(self, address: str, path: str) -> None:
        """Read until an answer other than 200."""
        url = urlsplit(address)
        self.status = 200
        while self.status == 200:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection(url.hostname, url.port)
                self.connections += 1
                try:
                    await self._read(path, reader, writer)
                finally:
                    writer.close()
            if self.status == 200:
                await asyncio.sleep(self._retry_s)

    async def _read(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        cursor = b"last-event-id: %b\r\n" % self._last_id if self._last_id else b""
        writer.write(b"GET %b HTTP/1.1\r\nhost: here\r\n%b\r\n" % (path.encode(), cursor))
        head = await reader.readuntil(b"\r\n\r\n")
        self.status = int(head.split()[1])
        while self.status == 200 and (size := int(await reader.readuntil(b"\r\n"), 16)):
            for block in (await reader.readexactly(size + 2))[:-4].split(b"\n\n"):
                self._take(block)

    def _take(self, block: bytes) -> None:
        lines = (line.partition(b": ") for line in block.split(b"\n"))
        fields = {name: value for name, _, value in lines if name}
        if b"retry" in fields:
            self._retry_s = int(fields[b"retry"]) / 1000
        if fields.get(b"event", b"error") != b"error":
            self._last_id = fields[b"id"]
            self.heard.append(fields[b"data"])
