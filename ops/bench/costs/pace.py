"""The pace at which a part of a cost is measured: that of the run it is a part of.

A process that sleeps in between pays more for the same work: the kernel wakes it, and it finds the
caches full of something else. A bare exchange with the upstream takes 140 us of CPU where 7,000 are
made a second, and 340 at 700 a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from worker.runtime import settle_garbage

# Connections: enough that nothing waits for another one's end.
AT_ONCE = 50


class Pace:
    """So many a second from now on, at even moments; with 0 as fast as they go."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()

    async def reach(self, number: int) -> None:
        """Wait until it is the turn of this number, counted from 0."""
        if self._per_s:
            await asyncio.sleep(self._begun + number / self._per_s - self._loop.time())


async def us_of_each(
    some: Callable[[Iterator[int], Pace], Awaitable[None]], count: int, per_s: float
) -> float:
    """The microseconds of CPU of each of so many, which `AT_ONCE` calls of `some` share.

    As many as there are calls come before, for practice.
    """

    async def spent_s(many: int) -> float:
        numbers, pace, begun_s = iter(range(many)), Pace(per_s), time.process_time()
        await asyncio.gather(*(some(numbers, pace) for _ in range(AT_ONCE)))
        return time.process_time() - begun_s

    await spent_s(AT_ONCE)
    settle_garbage()
    return await spent_s(count) / count * 1e6
