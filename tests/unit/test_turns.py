"""Turns: taken when asked for, one after the other, whatever becomes of one."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from worker.errors import StoreAway
from worker.turns import Turns


class Work:
    """Counts its turns; each ends when it is told to, or fails as it is told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.failure: Exception | None = None
        self.may_end = asyncio.Semaphore(0)

    async def turn(self) -> None:
        self.begun += 1
        await self.may_end.acquire()
        if self.failure is not None:
            raise self.failure

    async def has_begun(self, times: int) -> None:
        async with asyncio.timeout(5):
            while self.begun < times:  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(0)


@asynccontextmanager
async def taking(turn: Callable[[], Awaitable[None]], pause_s: float = 0.0) -> AsyncIterator[Turns]:
    turns = Turns(turn, "nothing is done", pause_s)
    task = asyncio.create_task(turns.run())
    try:
        yield turns
        assert not task.done()
    finally:
        task.cancel()


async def some_turns_of_the_loop() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_turn_is_taken_before_one_is_asked_for() -> None:
    work = Work()
    async with taking(work.turn) as turns:
        await some_turns_of_the_loop()
        assert work.begun == 0
        turns.ask()
        await work.has_begun(1)


async def test_what_is_asked_for_during_a_turn_is_one_more_however_often() -> None:
    work = Work()
    async with taking(work.turn) as turns:
        turns.ask()
        await work.has_begun(1)
        for _ in range(3):
            turns.ask()
        await some_turns_of_the_loop()
        assert work.begun == 1  # one at a time
        work.may_end.release()
        await work.has_begun(2)
        work.may_end.release()
        await some_turns_of_the_loop()
        assert work.begun == 2


@pytest.mark.parametrize(
    ("failure", "level", "said"),
    [
        (StoreAway("the database does not answer"), "WARNING", "nothing is done: the database"),
        (ZeroDivisionError(), "ERROR", "nothing is done"),
    ],
)
async def test_a_turn_that_fails_is_told_and_the_next_one_is_taken(
    caplog: pytest.LogCaptureFixture, failure: Exception, level: str, said: str
) -> None:
    work = Work()
    work.failure = failure
    async with taking(work.turn) as turns:
        for number in (1, 2):
            turns.ask()
            await work.has_begun(number)
            work.may_end.release()
            await some_turns_of_the_loop()
    found = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.levelname for record in found] == [level] * 2
    assert all(record.getMessage().startswith(said) for record in found)


async def test_between_two_turns_there_is_a_pause() -> None:
    loop, begun = asyncio.get_running_loop(), list[float]()

    async def turn() -> None:
        begun.append(loop.time())
        turns.ask()
        if len(begun) == 3:
            over.set()

    over = asyncio.Event()
    async with taking(turn, pause_s=0.02) as turns:
        turns.ask()
        async with asyncio.timeout(5):
            await over.wait()
    assert begun[1] - begun[0] >= 0.02 and begun[2] - begun[1] >= 0.02
