"""Doing something at once, but not again and again: what is wished meanwhile is done together."""

import asyncio
from collections.abc import Awaitable, Callable


class Seldom:
    """Calls a function at the first wish, and for all that follow within a while once after it.

    Args:
        function: what is wished for; it is to tell of its own failures.
        pause_s: the least time from one call to the next.
    """

    def __init__(self, function: Callable[[], Awaitable[object]], pause_s: float) -> None:
        self._function = function
        self._pause_s = pause_s
        self._last = float("-inf")
        self._later: asyncio.TimerHandle | None = None
        self._calling: set[asyncio.Future[object]] = set()

    async def __call__(self) -> None:
        """Wish for it: it is done before this returns, or within the pause after it."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        if now >= self._last + self._pause_s:
            self._last = now
            await self._function()
        elif self._later is None:
            self._later = loop.call_at(self._last + self._pause_s, self._call)

    def _call(self) -> None:
        self._later, self._last = None, asyncio.get_running_loop().time()
        calling = asyncio.ensure_future(self._function())
        self._calling.add(calling)  # else nobody holds it
        calling.add_done_callback(self._calling.discard)
