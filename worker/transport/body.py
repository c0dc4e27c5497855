"""The body of a response."""

from collections.abc import AsyncIterator, Callable

import httpx

from worker.transport.connection import Connection, Take


class Body(httpx.AsyncByteStream):
    """Reads itself as httpx iterates it, or pushes itself to somebody: one of the two."""

    def __init__(
        self,
        connection: Connection,
        read_timeout_s: float | None,
        give_back: Callable[[Connection], None],
    ) -> None:
        self._connection = connection
        self._read_timeout_s = read_timeout_s
        self._give_back: Callable[[Connection], None] | None = give_back

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._connection.read(self._read_timeout_s):
            yield data

    async def push(self, take: Take) -> bool:
        """Hand each network read's part of the body to `take`, in the call that read it.

        No timeout applies but the caller's own.

        Returns:
            True where `take` wanted no more, False at the end of the body.

        Raises:
            httpx.ReadError: the connection broke before the end.
            httpx.RemoteProtocolError: it was closed before the end, or broke the protocol.
            Exception: whatever `take` raises.
        """
        return await self._connection.push(take)

    async def aclose(self) -> None:
        """Keep the connection for another exchange where this one is over, else close it."""
        if self._give_back is not None:
            self._give_back(self._connection)
            self._give_back = None
