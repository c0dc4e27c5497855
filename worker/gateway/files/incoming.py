"""A long body in pieces; and the answer to a client that is not heard to the end."""

import asyncio

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from worker.files.threads import PIECE
from worker.gateway.body import too_large
from worker.gateway.refusals import Refusal

# How long a client that is refused may go on: one whose connection is closed in the middle of its
# sending may never see why. OpenAI's does, at once, if it has sent all of it by then.
LINGER_S = 3.0


class Incoming:
    """A request's body as it comes.

    Args:
        receive: the request's.
        most: bytes it may have in all.
        early: bytes after which each piece is given at once, however small: it may be the one too
            many, and another may not come.
        silence_s: how long nothing may come, in seconds. In all it may take longer.

    Attributes:
        over: whether there is no more of it.
    """

    def __init__(self, receive: Receive, *, most: int, early: int, silence_s: float) -> None:
        self._receive = receive
        self._most = most
        self._early = early
        self._silence_s = silence_s
        self._bytes = 0
        self.over = False

    async def piece(self) -> bytes:
        """The next piece, gathered: each is a step in a thread. Nothing at the body's end.

        Raises:
            Refusal: 408 where nothing comes, 413 for too much, 400 where the client has left.
        """
        gathered = bytearray()
        while not self.over and len(gathered) < PIECE:
            gathered += await self._next()
            if self._bytes > self._most:
                raise too_large("body", self._most)
            if self._bytes > self._early:
                break
        return bytes(gathered)

    async def rest(self) -> None:
        """Let the rest of it pass, for a moment."""
        try:
            async with asyncio.timeout(LINGER_S):
                while not self.over:
                    await self._next()
        except (TimeoutError, Refusal):
            return

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(self._silence_s):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(
                408, f"nothing of the body came for {self._silence_s:g} s; send it faster"
            ) from None
        if message["type"] == "http.disconnect":
            self.over = True
            raise Refusal(400, "the client left in the middle of its request")
        self.over = not message.get("more_body", False)
        piece: bytes = message.get("body", b"")
        self._bytes += len(piece)
        return piece


class LastWord(Response):
    """An answer that does not wait for the body's end, after which the connection is closed.

    Args:
        response: the answer.
        body: the body that may still come.
    """

    def __init__(self, response: Response, body: Incoming) -> None:
        super().__init__(response.body, response.status_code)
        self.raw_headers = [*response.raw_headers]
        self._incoming = body
        if not body.over:
            self.raw_headers.append((b"connection", b"close"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        await self._incoming.rest()
        await send({"type": "http.response.body", "body": b"", "more_body": False})
