"""One connection: requests go out whole, answers come in as the socket has them.

What arrives passes the parser and goes to whoever takes the body in the same call, without a
task in between: at ten thousand deltas a second waking a task for each read is what costs most.
Everything that ends an exchange is synchronous, so that a cancellation can leave nothing behind.
"""

import asyncio
import select
from collections.abc import Callable

import httptools
import httpx

from worker.transport.head import Head

# Takes a piece of a body; True where it wants no more.
Take = Callable[[bytes], bool | None]

# What all headers of one response may take together. llhttp itself has no limit; nginx's and
# Node's are 8 to 16 KiB for requests.
MOST_HEAD_BYTES = 256 * 1024
# A body that nobody takes is read up to here; then the socket waits.
MOST_WAITING_BYTES = 256 * 1024


class Connection(asyncio.Protocol):
    """A connection to one server; serves one exchange after the other.

    Attributes:
        lost: whether it is closed, or about to be.
        complete: whether the response has been received to its end, in an orderly way.
    """

    def __init__(self, when_lost: Callable[["Connection"], None] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._when_lost = when_lost
        self._parser: httptools.HttpResponseParser | None = None
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._head: Head | None = None
        self._until_closed = False  # nothing but the end of the connection ends the body
        self._keeps_alive = False
        self._surplus = False  # bytes after the response, which nobody asked for
        self._pieces: list[bytes] = []  # of the body, taken by nobody yet
        self._paused = False
        self._take: Take | None = None
        self._satisfied = False  # whoever took the body wanted no more
        self._news: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self.complete = False
        self.lost = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Also called when TLS takes the place of the bare socket."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's are no subclasses

    def data_received(self, data: bytes) -> None:
        """Parse what one read of the socket brought, and hand on the body in it, at once."""
        if self._parser is None or self.complete:
            self.abort()  # nobody asked for anything: whatever this is, it is no answer
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._pass_on()  # what stood before it in the same read is good
            self._fail(httpx.RemoteProtocolError(f"not HTTP/1.1: {error}"), error)
            return
        if self._head is None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._fail(httpx.RemoteProtocolError("the response's headers are too large"))
            return
        self._pass_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of the connection: of the body, too, where nothing else could end it."""
        self.lost = True
        if self._parser is not None and not self.complete:
            if exc is not None:
                self._fail(httpx.ReadError(f"the connection broke: {exc}"), exc)
            elif self._head is None:
                self._fail(httpx.ReadError("closed without an answer"), EOFError())
            elif self._until_closed:
                self.complete = True
                self._tell()
            else:
                self._fail(httpx.RemoteProtocolError("closed before the end of the body"))
        self._parser = None  # it refers to this object: a cycle that only the collector would find
        if self._when_lost is not None:
            self._when_lost(self)

    # What the parser calls, from within `data_received`.

    def on_message_begin(self) -> None:
        """A response begins; a second one is not wanted."""
        self._surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, whole."""
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is whole: the one that counts, or one that only says that more is to come."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if status >= httpx.codes.OK and not self._surplus:
            self._head = Head(status, self._headers)
            self._until_closed = not any(_frames_body(*header) for header in self._headers)
            self._tell()
        self._headers = []

    def on_body(self, data: bytes) -> None:
        """A piece of the body: of a chunk, or of what one read brought."""
        if not self._surplus:
            self._pieces.append(data)

    def on_message_complete(self) -> None:
        """The end of the body, or of an interim response."""
        self.complete = self._head is not None
        # Only here the parser knows: it forgets the response with its end.
        self._keeps_alive = self._parser is not None and self._parser.should_keep_alive()

    # What the transport and the body call.

    def has_news(self) -> bool:
        """Whether the socket has something to read that the loop has not come to yet.

        On an idle connection that can only be its end, or what nobody asked for.
        """
        assert self._transport is not None
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def idle(self) -> bool:
        """Whether another exchange may follow: this one is over, and nothing speaks against it."""
        over = self.complete and self._keeps_alive and not self._pieces
        return over and not self._surplus and not self.lost

    async def exchange(self, request: bytes, timeout_s: float | None) -> Head:
        """Send a request, wait for the head of the answer.

        Raises:
            httpx.ReadTimeout: no head within `timeout_s`.
            httpx.ReadError, httpx.WriteError: the connection broke, or was closed.
            httpx.RemoteProtocolError: the answer is not HTTP/1.1.
        """
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._head, self._head_bytes, self.complete, self._failure = None, 0, False, None
        self._transport.write(request)
        if self.lost:
            raise httpx.WriteError("the connection was closed")
        return await self._until_head(timeout_s)

    async def push(self, take: Take) -> bool:
        """Hand each piece of the body to `take` as it arrives.

        Returns:
            True where `take` wanted no more, False at the end of the body.

        Raises:
            httpx.ReadError: the connection broke before the end.
            httpx.RemoteProtocolError: it was closed before the end, or broke the protocol.
            Exception: whatever `take` raises; the connection is closed then.
        """
        self._take, self._satisfied = take, False
        try:
            self._pass_on()
            while self._wanted:
                if self.complete:
                    return False
                await self._hear(None)
            # What breaks after that, even in the same read, is of no interest to anybody.
            if self._failure is not None and not self._satisfied:
                raise self._failure
            return True
        finally:
            self._take = None

    async def read(self, timeout_s: float | None) -> bytes:
        """What has arrived of the body, at least a byte; empty at its end. Raises like `push`."""
        while not self._pieces:
            if self.complete:
                return b""
            await self._hear(timeout_s)
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._resume()
        return data

    def detach(self) -> asyncio.Transport:
        """Hand over what carries the bytes; this connection is over."""
        assert self._transport is not None
        transport, self._transport = self._transport, None
        self.lost = True
        return transport

    def abort(self) -> None:
        """Close at once, whatever state it is in."""
        self.lost = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def _wanted(self) -> bool:
        return self._take is not None

    async def _until_head(self, timeout_s: float | None) -> Head:
        while self._head is None:
            await self._hear(timeout_s)
        return self._head

    async def _hear(self, timeout_s: float | None) -> None:
        """Wait until there is something new: a head, a piece, the end."""
        if self._failure is not None:
            raise self._failure
        self._news = self._loop.create_future()
        try:
            async with asyncio.timeout(timeout_s):
                await self._news
        except TimeoutError:
            raise httpx.ReadTimeout(f"nothing came for {timeout_s:g} s") from None
        finally:
            self._news = None

    def _pass_on(self) -> None:
        """Give what has arrived to whoever takes the body, as one piece, or have it wait."""
        pieces = self._pieces
        take = self._take
        if take is None:
            self._keep_waiting()
            return
        if pieces:
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            self._resume()
            try:
                enough = take(data)
            except Exception as error:
                self._take = None
                self._failure = None  # what was taken came before it
                self._fail(error)
                return
            if enough:
                self._take, self._satisfied = None, True
                self._tell()
                return
        if self.complete:
            self._tell()

    def _keep_waiting(self) -> None:
        if self._pieces or self.complete:
            self._tell()
        waiting = sum(map(len, self._pieces))
        if waiting > MOST_WAITING_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def _fail(self, failure: Exception, cause: BaseException | None = None) -> None:
        """End the exchange. The first failure is the one that is told."""
        if self._failure is None:
            failure.__cause__ = cause
            self._failure = failure
        self._tell()
        self.abort()


def _frames_body(name: bytes, value: bytes) -> bool:
    """Whether the header says where the body ends."""
    lowered = name.lower()
    if lowered == b"transfer-encoding":
        return value.strip().lower().endswith(b"chunked")
    return lowered == b"content-length"
