"""Group commit: whoever comes alone waits for nobody, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.store.together import FEW, MOST, Together


class Server:
    """Answers when it is told to; remembers what came together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Semaphore(0)

    async def run(self, items: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(items))
        await self.may_answer.acquire()
        if min(items) < 0:
            raise ValueError
        return [item * 10 for item in items]

    async def has_asked(self, times: int) -> None:
        while len(self.asked) < times:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0)


async def test_what_comes_while_one_is_asked_goes_with_the_next() -> None:
    server = Server()
    together = Together(server.run)
    first = asyncio.create_task(together.ask(1))
    await server.has_asked(1)
    others = [asyncio.create_task(together.ask(n)) for n in (2, 3, 4)]
    await asyncio.sleep(0)
    assert server.asked == [[1]]
    server.may_answer.release()
    await server.has_asked(2)
    server.may_answer.release()
    assert [await each for each in (first, *others)] == [10, 20, 30, 40]
    assert server.asked == [[1], [2, 3, 4]]


async def test_one_that_is_at_fault_costs_the_others_nothing() -> None:
    server = Server()
    for _ in range(4):
        server.may_answer.release()
    together = Together(server.run)
    tasks = [asyncio.create_task(together.ask(n)) for n in (1, -1, 2)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [found[0], found[2]] == [10, 20] and isinstance(found[1], ValueError)


async def test_a_failure_that_passes_is_for_all_and_the_next_is_asked_anew() -> None:
    calls = []

    async def run(items: Sequence[int]) -> Sequence[int]:
        calls.append(list(items))
        if len(calls) == 1:
            raise PoolTimeout
        return items

    together = Together(run)
    tasks = [asyncio.create_task(together.ask(n)) for n in (1, 2)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(each, PoolTimeout) for each in found)
    assert await together.ask(3) == 3 and calls == [[1, 2], [3]]


async def test_one_who_has_left_does_not_keep_the_others_from_their_answers() -> None:
    server = Server()
    together = Together(server.run)
    tasks = [asyncio.create_task(together.ask(n)) for n in (1, 2)]
    await server.has_asked(1)
    tasks[0].cancel()
    server.may_answer.release()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await tasks[1] == 20


async def test_no_call_is_about_more_than_so_many() -> None:
    server = Server()
    for _ in range(3):
        server.may_answer.release()
    together = Together(server.run)
    count = 2 * MOST + 1
    found = await asyncio.gather(*(together.ask(n) for n in range(count)))
    assert found == [n * 10 for n in range(count)]
    assert [len(items) for items in server.asked] == [MOST, MOST, 1]


async def test_the_patient_wait_a_moment_for_others_and_hurry_with_whoever_cannot() -> None:
    server = Server()
    together = Together(server.run)
    patient = [asyncio.create_task(together.ask(n, patient=True)) for n in (1, 2)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert server.asked == []
    hurried = asyncio.create_task(together.ask(3))
    await server.has_asked(1)
    assert server.asked == [[3, 1, 2]]
    server.may_answer.release()
    assert await asyncio.gather(*patient, hurried) == [10, 20, 30]
    alone = asyncio.create_task(together.ask(4, patient=True))
    server.may_answer.release()
    assert await alone == 40  # nobody came


async def test_as_many_as_one_call_takes_wait_for_nobody() -> None:
    server = Server()
    together = Together(server.run)
    tasks = [asyncio.create_task(together.ask(n, patient=True)) for n in range(MOST + 1)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert [len(items) for items in server.asked] == [MOST]
    server.may_answer.release()
    server.may_answer.release()
    assert len(await asyncio.gather(*tasks)) == MOST + 1


async def test_few_of_the_patient_go_with_one_that_is_not_and_the_others_after_it() -> None:
    server = Server()
    together = Together(server.run)
    tasks = [asyncio.create_task(together.ask(n, patient=True)) for n in range(FEW + 2)]
    hurried = asyncio.create_task(together.ask(1000))
    await server.has_asked(1)
    assert server.asked == [[1000, *range(FEW)]]
    server.may_answer.release()
    assert await hurried == 10_000
    server.may_answer.release()
    assert await asyncio.gather(*tasks) == [n * 10 for n in range(FEW + 2)]
    assert server.asked[1:] == [[FEW, FEW + 1]]
