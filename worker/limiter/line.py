"""Those of one process and lane who wait for one scope: in order, and only the first asks."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress

from worker.limiter.terms import Granted, NotNow, Reason

Question = Callable[[], Awaitable[Granted | NotNow]]


class Line:
    """However many wait, Redis hears one question at a time, and nobody is overtaken."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # it is passed on in the order of waiting
        self._news = asyncio.Event()
        self._asks_again_at = 0.0

    def notify(self) -> None:
        """Something was freed: the first need not wait before it asks again."""
        self._news.set()

    async def ask(self, question: Question, patience_s: float) -> Granted | NotNow:
        """Ask until granted, or until the patience cannot last to the next answer.

        Who comes while the first is told to wait for longer than that does not stand in line.
        A question that is under way is never given up: what it reserves would be lost.
        """
        began = asyncio.get_running_loop().time()
        deadline = began + patience_s
        if self._asks_again_at > deadline:
            spread = random.uniform(1, 1.2)  # noqa: S311  no secret
            return NotNow((self._asks_again_at - began) * spread, Reason.QUEUE)
        try:
            async with asyncio.timeout_at(deadline):
                await self._turn.acquire()
        except TimeoutError:
            # As many as were served meanwhile are about as many as stood before this one.
            wait_s = patience_s * random.uniform(0.5, 1)  # noqa: S311  no secret
            return NotNow(wait_s, Reason.QUEUE)
        try:
            return await self._ask_first(question, deadline)
        finally:
            self._asks_again_at = 0.0
            self._turn.release()

    async def _ask_first(self, question: Question, deadline: float) -> Granted | NotNow:
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            answer = await question()
            if isinstance(answer, Granted) or loop.time() + answer.wait_s > deadline:
                return answer
            self._asks_again_at = loop.time() + answer.wait_s
            with suppress(TimeoutError):
                async with asyncio.timeout(answer.wait_s):
                    await self._news.wait()
