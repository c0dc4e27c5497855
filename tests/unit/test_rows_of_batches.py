"""Rows that came with one wake-up run together, as many at a time as the process is ready for."""

import asyncio
from typing import Any, cast

import pytest

from worker.errors import StoreAway
from worker.execution import Rows


class Runs:
    """Stands for the execution: each job runs until it is let go."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.most = 0
        self.ends: dict[str, asyncio.Future[bool]] = {}

    async def run(self, id: str, *, patient: bool) -> bool:
        assert patient
        self.running.add(id)
        self.most = max(self.most, len(self.running))
        try:
            return await self.ends.setdefault(id, asyncio.get_running_loop().create_future())
        finally:
            self.running.discard(id)

    async def let_go(self, count: int, elsewhere: bool = False) -> None:
        for id in list(self.running)[:count]:
            self.ends[id].set_result(elsewhere)
        for _ in range(10):
            await asyncio.sleep(0)


class Slots:
    """What the process's leases say of its slots."""

    def __init__(self, bulk_slots: int) -> None:
        self.bulk_slots = bulk_slots
        self.draining = False


def rows(runs: Runs, slots: Slots) -> Rows:
    return Rows(cast(Any, runs), cast(Any, slots))


async def test_no_more_run_at_a_time_than_there_are_slots() -> None:
    runs = Runs()
    both = rows(runs, Slots(3))
    tasks = [asyncio.create_task(both.run(ids)) for ids in (["a", "b", "c", "d"], ["e", "f"])]
    await runs.let_go(0)
    assert len(runs.running) == 3
    while not all(task.done() for task in tasks):
        await runs.let_go(1)
    assert runs.most == 3 and set(runs.ends) == set("abcdef")
    assert [task.result() for task in tasks] == [False, False]


async def test_one_that_is_for_another_process_sends_the_wake_up_back() -> None:
    runs = Runs()
    task = asyncio.create_task(rows(runs, Slots(2)).run(["a", "b"]))
    await runs.let_go(0)
    await runs.let_go(1, elsewhere=True)
    await runs.let_go(1)
    assert await task is True


async def test_a_process_that_ends_lets_none_wait_for_a_slot() -> None:
    runs, slots = Runs(), Slots(1)
    task = asyncio.create_task(rows(runs, slots).run(["a", "b", "c"]))
    await runs.let_go(0)
    slots.draining = True
    await runs.let_go(1, elsewhere=True)
    await runs.let_go(2, elsewhere=True)
    assert await task is True


async def test_a_store_that_is_away_is_told_once_the_others_have_run() -> None:
    runs = Runs()
    task = asyncio.create_task(rows(runs, Slots(2)).run(["a", "b"]))
    await runs.let_go(0)
    runs.ends["a"].set_exception(StoreAway("away"))
    await runs.let_go(0)
    assert not task.done()
    await runs.let_go(1)
    with pytest.raises(StoreAway):
        await task
