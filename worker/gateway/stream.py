"""A response that goes on: its head, its frames as they come, and an end that is always one.

An ASGI response of our own: Starlette's takes a task group, an iterator and a wrapper for each
reader, twice the memory of this.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.gateway.answers import JOB
from worker.gateway.refusals import refusal_of
from worker.gateway.sse import HEARTBEAT
from worker.metrics import count, names

logger = logging.getLogger(__name__)


# In a request's scope: breaks its connection off.
ABORT = "deltaworks.abort"

# Headers that all readers share.
EVENTS = (b"content-type", b"text/event-stream; charset=utf-8")
EVERY_STREAM = (
    # Neither kept nor gathered on the way: nginx heeds the one, caches the other.
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
)


class Stream(Response):
    """Sends frames until there are no more or the reader is gone.

    Args:
        frames: an asynchronous generator; it is closed in either case.
        headers: besides those of every stream.
        kind: the header of its content type; frames are events where nothing else is said.
        slow_s: a reader whose connection takes nothing for so long, in seconds, or up to twice
            that, is cut off: it resumes by its cursor.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        slow_s: float,
        kind: tuple[bytes, bytes] = EVENTS,
    ) -> None:
        # Starlette's own would encode all of them anew, and keep them, for each reader.
        own = (
            (name.encode("ascii"), value.encode("ascii")) for name, value in (headers or {}).items()
        )
        self.raw_headers = [kind, *EVERY_STREAM, *own]
        self._frames = frames
        # How many frames were given to the connection, by now and at the last look; and whether
        # it has yet to take the last one.
        self._given = self._seen = 0
        self._waits = False
        self._slow_s = slow_s
        self._cut = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames; return when the reader has gone, too."""
        if scope["method"] == "HEAD":  # who asks for the head waits for no frame
            async with aclosing(self._frames):  # type: ignore[type-var]  # generators, all of them
                await self._begin(send)
            await self._end(send)
            return
        # One timer for the whole stream: one for each frame would cost more than the frame.
        sender, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert sender is not None
        abort: Callable[[], None] = scope.get(ABORT, lambda: None)
        self._watch = loop.call_later(self._slow_s, self._look, loop, sender, abort)
        try:
            await _while_there(self._send(scope, receive, send), receive)
        except asyncio.CancelledError:
            if not self._cut or sender.uncancel():
                raise
        finally:
            self._watch.cancel()

    def _look(
        self,
        loop: asyncio.AbstractEventLoop,
        sender: asyncio.Task[object],
        abort: Callable[[], None],
    ) -> None:
        """Cut the reader off if its connection has taken nothing since the last look."""
        if self._waits and self._given == self._seen:
            logger.info("a reader took nothing for %g s and is cut off", self._slow_s)
            self._cut = True
            count(names.DROPPED_READERS)
            abort()
            sender.cancel()
        else:
            self._seen = self._given
            self._watch = loop.call_later(self._slow_s, self._look, loop, sender, abort)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._begin(send)
        async with aclosing(self._frames):  # type: ignore[type-var]  # generators, all of them
            async for frame in self._frames:
                await self._continue(frame, send)
        await self._end(send)

    async def _begin(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)

    async def _continue(self, frame: bytes, send: Send) -> None:
        self._given += 1
        self._waits = True
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        self._waits = False

    async def _end(self, send: Send) -> None:
        self._given += 1
        self._waits = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        self._waits = False


class Held(Stream):
    """A stream whose head waits for the first frame, not for ever: until then an error is one.

    Args:
        frames: as of `Stream`. What it raises before the head is the response; afterwards it is
            said within the stream.
        complain: an error as a frame.
        hold_s: how long the head waits at most, in seconds.
        headers, slow_s: as of `Stream`.
    """

    def __init__(
        self,
        frames: AsyncIterator[bytes],
        complain: Callable[[Exception], bytes],
        hold_s: float,
        headers: Mapping[str, str] | None = None,
        *,
        slow_s: float,
    ) -> None:
        super().__init__(frames, headers, slow_s=slow_s)
        self._complain = complain
        self._hold_s = hold_s
        self._begun = False

    async def _open(self, send: Send) -> None:
        """Send the head and the first frame, or before it, after a while, a sign of life."""
        async with aclosing(_up_to_first(self._frames, self._hold_s)) as early:
            async for frame in early:
                if not self._begun:
                    self._begun = True
                    await self._begin(send)
                await self._continue(frame, send)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._frames):  # type: ignore[type-var]  # a generator
            try:
                await self._open(send)
                async for frame in self._frames:
                    await self._continue(frame, send)
            except Exception as error:  # whatever it is, it is said
                if not self._begun:
                    await _refused(error, self.headers)(scope, receive, send)
                    return
                await self._continue(self._complain(error), send)
        await self._end(send)


class Awaited(Response):
    """A response that is made while the client waits; broken off when the client goes away.

    Args:
        making: makes the response; what it raises is one, too.
        headers: of an error.
    """

    def __init__(
        self, making: Coroutine[object, object, Response], headers: Mapping[str, str]
    ) -> None:
        super().__init__(None, 200, headers)
        self._making = making

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Make it and send it."""
        await _while_there(self._send(scope, receive, send), receive)

    async def _send(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._making
        except Exception as error:  # whatever it is, it is said
            response = _refused(error, self.headers)
        await response(scope, receive, send)


def _refused(error: Exception, headers: Mapping[str, str]) -> Response:
    refusal = refusal_of(error)
    if job := headers.get(JOB):
        refusal.headers[JOB] = job
    return refusal.response()


async def _up_to_first(frames: AsyncIterator[bytes], hold_s: float) -> AsyncGenerator[bytes, None]:
    """The first frame, without heartbeats before it; and one where that takes longer."""
    loop = asyncio.get_running_loop()
    until = loop.time() + hold_s
    frame: bytes | None = HEARTBEAT
    while frame is HEARTBEAT and loop.time() < until:
        coming = asyncio.ensure_future(anext(frames, None))
        try:
            if not (await asyncio.wait({coming}, timeout=until - loop.time()))[0]:
                yield HEARTBEAT
            frame = await coming
        finally:
            if not coming.done():
                coming.cancel()
                await asyncio.wait({coming})
    if frame is not None:
        yield frame


async def _while_there(sending: Coroutine[object, object, None], receive: Receive) -> None:
    """Send until all is sent or the client has gone."""
    sender = asyncio.current_task()
    assert sender is not None
    leaving = asyncio.create_task(_gone(receive))
    left = False

    def leave(_: object) -> None:
        nonlocal left
        left = True
        sender.cancel()

    leaving.add_done_callback(leave)
    try:
        await sending
    except asyncio.CancelledError:
        if not left or sender.uncancel():
            raise
    finally:
        leaving.remove_done_callback(leave)
        leaving.cancel()


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
