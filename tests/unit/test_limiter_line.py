import asyncio

from worker.limiter.line import Line
from worker.limiter.terms import Granted, NotNow, Reason


async def granted() -> Granted:
    return Granted(0.0)


async def test_who_has_little_patience_is_refused_at_once_while_the_first_waits_longer():
    line, asked = Line(), asyncio.Event()

    async def cooling() -> NotNow:
        asked.set()
        return NotNow(20.0, Reason.COOLING)

    first = asyncio.create_task(line.ask(cooling, 30))
    await asked.wait()
    began = asyncio.get_running_loop().time()
    answer = await line.ask(granted, 10)
    assert isinstance(answer, NotNow) and answer.reason is Reason.QUEUE
    assert 19 < answer.wait_s <= 24
    assert asyncio.get_running_loop().time() - began < 5
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert await line.ask(granted, 10) == Granted(0.0)


async def test_a_question_that_is_under_way_is_waited_for():
    line, asked, answered = Line(), asyncio.Event(), asyncio.Event()

    async def slow() -> Granted:
        asked.set()
        await answered.wait()
        return Granted(0.0)

    first = asyncio.create_task(line.ask(slow, 0.25))
    await asked.wait()
    second = asyncio.create_task(line.ask(granted, 10))
    await asyncio.sleep(0)
    assert not second.done()
    answered.set()
    assert list(await asyncio.gather(first, second)) == [Granted(0.0), Granted(0.0)]
