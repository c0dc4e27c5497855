"""Group commit: one statement is under way, and what is asked meanwhile goes with the next.

A statement's way through SQLAlchemy, the driver and the server costs some milliseconds, however
many rows it is about. Whoever comes alone waits for nobody; the patient wait a moment for others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

from worker.store.failures import Failure, meaning

Item = TypeVar("Item")
Answer = TypeVar("Answer")

# Items of one statement: more would hold up the others, and lock more rows for longer.
MOST = 128
# Patient ones that go with those who are not: each more takes longer.
FEW = 16
# How long the patient ones wait for company: nothing to a job that nobody watches, and groups are
# some times as large.
PATIENCE_S = 0.05


class Together(Generic[Item, Answer]):
    """Answers for each item what one call for many says of it.

    Args:
        run: answers so many items, in their order. What it raises is raised to each of them where
            it passes; where it does not, each is asked for alone, so that it meets the guilty one.
    """

    def __init__(self, run: Callable[[Sequence[Item]], Awaitable[Sequence[Answer]]]) -> None:
        self._run = run
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._patient: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None
        self._hurries = asyncio.Event()

    async def ask(self, item: Item, *, patient: bool = False) -> Answer:
        """The answer for the item; a patient one comes a moment later, with others."""
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        (self._patient if patient else self._waiting).append((item, answer))
        if self._is_due():
            self._hurries.set()
        if self._running is None:
            self._running = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        try:
            while self._waiting or self._patient:
                await self._wait_for_others()
                some, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                company = FEW if some else MOST
                some += self._patient[:company]
                self._patient = self._patient[company:]
                await self._answer(some)
        finally:
            self._running = None

    def _is_due(self) -> bool:
        return bool(self._waiting) or len(self._patient) >= MOST

    async def _wait_for_others(self) -> None:
        if self._is_due():
            return
        self._hurries.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await self._hurries.wait()

    async def _answer(self, some: Sequence[tuple[Item, "asyncio.Future[Answer]"]]) -> None:
        try:
            answers = await self._run([item for item, _ in some])
        except Exception as error:  # belongs to whoever has asked
            if len(some) > 1 and meaning(error) is Failure.FAULT:
                for one in some:
                    await self._answer([one])
                return
            for _, future in some:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(some, answers, strict=True):
            if not future.done():
                future.set_result(answer)
