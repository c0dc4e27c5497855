"""A response that goes on: its head, its frames as they come, and an end that is always one.

An ASGI response of our own: Starlette's takes a task group, an iterator and a wrapper for each
reader, twice the memory of this.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

# A reader whose connection takes nothing for so long is cut off: it resumes by its cursor.
SLOW_S = 30.0
HEARTBEAT = b": still here\n\n"
# How soon an EventSource comes again.
RETRY_MS = 1_000
HINT = b"retry: %d\n\n" % RETRY_MS

EVENT_STREAM = {
    "content-type": "text/event-stream; charset=utf-8",
    # Neither kept nor gathered on the way: nginx heeds the one, caches the other.
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}


class Stream(Response):
    """Sends frames until there are no more or the reader is gone.

    Args:
        frames: an asynchronous generator; it is closed in either case.
        headers: besides those of every event stream.
    """

    def __init__(
        self, frames: AsyncIterator[bytes], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(None, 200, {**EVENT_STREAM, **(headers or {})})
        del self.headers["content-length"]
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the frames; return when the reader has gone, too."""
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
                with suppress(asyncio.CancelledError):
                    await sending
        if sending.done() and not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(head)
        async with aclosing(self._frames):  # type: ignore[type-var]  # generators, all of them
            async for frame in self._frames:
                try:
                    async with asyncio.timeout(SLOW_S):
                        await send({"type": "http.response.body", "body": frame, "more_body": True})
                except TimeoutError:
                    logger.info("a reader took nothing for %g s and is cut off", SLOW_S)
                    return
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    """Return when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
