"""HTTP/1.1 on a socket: requests in, steps out, one response at a time."""

import asyncio
from collections import deque
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import cast
from urllib.parse import unquote

import httptools
import msgspec

from worker.simulator.player import Player
from worker.simulator.record import Entry
from worker.simulator.steps import End, Head, Steps

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request body."""

_MAX_PIPELINED = 32
_PHRASES = {entry.value: entry.phrase for entry in HTTPStatus}


class HttpRequest(msgspec.Struct):
    """One request. Header names are in lower case; `path` is without the query."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class Answer(msgspec.Struct, frozen=True):
    """What to play, the headers every response of this request carries, and its record."""

    steps: Steps
    headers: dict[str, str]
    entry: Entry | None = None


Answering = Callable[[HttpRequest], Answer]


class Connection(asyncio.Protocol):
    """One client. Pipelined requests wait for their turn; a closed client stops its stream."""

    def __init__(self, answering: Answering, connections: set["Connection"]) -> None:
        self._answering = answering
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[HttpRequest] = deque()
        self._player: Player | None = None
        self._keep_alive = True
        self._full = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client connected."""
        # A cast, for uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone, or the response closed the connection."""
        self._connections.discard(self)
        self._abandon(End.CLIENT)

    def shut_down(self) -> None:
        """Close now, whatever is being served."""
        self._abandon(End.SHUTDOWN)
        self._transport.abort()

    def _abandon(self, end: End) -> None:
        self._waiting.clear()
        if self._player is not None:
            self._player.abandon(end)
            self._player = None

    def data_received(self, data: bytes) -> None:
        """Bytes of one or more requests."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._transport.close()
        except httptools.HttpParserError:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
            self._transport.close()

    def pause_writing(self) -> None:
        """The socket is full."""
        self._full = True
        if self._player is not None:
            self._player.pause()

    def resume_writing(self) -> None:
        """The socket takes bytes again."""
        self._full = False
        if self._player is not None:
            self._player.resume()

    def on_message_begin(self) -> None:
        """httptools: a request begins."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._body_size = 0

    def on_url(self, url: bytes) -> None:
        """httptools: a piece of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools: one header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """httptools: the body follows."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """httptools: a piece of the body."""
        self._body_size += len(body)
        if self._body_size > MAX_BODY or len(self._waiting) > _MAX_PIPELINED:
            self._transport.abort()
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """httptools: the request is whole."""
        self._waiting.append(
            HttpRequest(
                method=self._parser.get_method().decode(),
                path=unquote(self._url.decode("latin-1").partition("?")[0]),
                headers=self._headers,
                body=b"".join(self._body),
                keep_alive=self._parser.should_keep_alive(),
            )
        )
        if self._player is None:
            self._answer_next()

    def _answer_next(self) -> None:
        request = self._waiting.popleft()
        self._keep_alive = request.keep_alive
        answer = self._answering(request)
        self._player = Player(
            answer.steps,
            lambda head: self._head(head, answer.headers),
            answer.entry,
            self._loop,
            self._response_ended,
        )
        if self._full:
            self._player.pause()
        self._player.start(self._transport)

    def _response_ended(self) -> None:
        self._player = None
        if not self._keep_alive:
            self._transport.close()
        elif self._waiting:
            # Not at once: a client that pipelines would otherwise deepen the stack.
            self._loop.call_soon(self._answer_waiting)

    def _answer_waiting(self) -> None:
        if self._waiting and self._player is None:
            self._answer_next()

    def _head(self, head: Head, more: dict[str, str]) -> bytes:
        headers = {"date": formatdate(usegmt=True), "server": "deltaworks-simulator", **more}
        headers |= head.headers
        if head.length is not None:
            headers["content-length"] = str(head.length)
        elif not head.until_close:
            headers["transfer-encoding"] = "chunked"
        if head.until_close or not self._keep_alive:
            headers["connection"] = "close"
        lines = [f"HTTP/1.1 {head.status} {_PHRASES.get(head.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
