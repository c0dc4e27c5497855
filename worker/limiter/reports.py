"""What responses say, told to Redis in the background: nothing that reads a stream may wait."""

import asyncio
from collections.abc import Awaitable, Callable

from worker.limiter.terms import Permit, Readings, Scope

# Headers of one scope are a sample: more often than this they say nothing new.
SAMPLE_S = 0.25

Tell = Callable[[Permit, int, Readings], Awaitable[None]]


class News:
    """What is yet to be told of a scope."""

    def __init__(self, permit: Permit) -> None:
        self.permit = permit
        self.starts = 0
        self.readings: Readings = {}


class Reports:
    """At most one report of each scope is under way; what comes meanwhile goes with the next."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._news: dict[Scope, News] = {}
        self._told_at: dict[Scope, float] = {}
        self._telling: dict[Scope, asyncio.Task[None]] = {}

    def sample_is_due(self, scope: Scope) -> bool:
        """Whether the headers of a response may say something new."""
        told_at = self._told_at.get(scope)
        return told_at is None or asyncio.get_running_loop().time() - told_at >= SAMPLE_S

    def add(self, permit: Permit, readings: Readings, *, watched: bool) -> None:
        """Tell of a response: the newest readings count, and every watched clean start."""
        scope = permit.scope
        if not watched and not readings:
            return
        news = self._news.setdefault(scope, News(permit))
        news.starts += watched
        news.readings = readings or news.readings
        if scope not in self._telling:
            self._telling[scope] = asyncio.create_task(self._run(scope))

    async def _run(self, scope: Scope) -> None:
        try:
            while news := self._news.pop(scope, None):
                self._told_at[scope] = asyncio.get_running_loop().time()
                await self._tell(news.permit, news.starts, news.readings)
        finally:
            del self._telling[scope]
