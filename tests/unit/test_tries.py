"""What was tried is gone when it is over: nothing waits for the garbage collector."""

import gc
import weakref
from functools import partial

import pytest
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from worker.tries import tried


class Text:
    """Stands for what a job holds."""


def until(attempts: int) -> AsyncRetrying:
    return AsyncRetrying(
        retry=retry_if_exception_type(OSError), stop=stop_after_attempt(attempts), reraise=True
    )


async def test_it_is_tried_as_tenacity_is_told() -> None:
    calls: list[int] = []

    async def third() -> int:
        calls.append(7)
        if len(calls) < 3:
            raise OSError
        return 7

    assert await tried(partial(until, 5), third) == 7 and calls == [7, 7, 7]


async def test_the_first_try_counts_among_those_that_tenacity_allows() -> None:
    calls: list[int] = []

    async def never() -> None:
        calls.append(len(calls))
        raise OSError(str(calls[-1]))

    with pytest.raises(OSError, match="2"):
        await tried(partial(until, 3), never)
    assert calls == [0, 1, 2]


async def test_what_succeeds_at_once_never_meets_tenacity() -> None:
    async def done() -> str:
        return "done"

    def meet() -> AsyncRetrying:
        raise AssertionError("it was met")

    assert await tried(meet, done) == "done"


@pytest.mark.parametrize("failures", [0, 1, 3])
async def test_nothing_is_left_for_the_garbage_collector(failures: int) -> None:
    text = Text()
    gone = weakref.ref(text)
    calls: list[int] = []

    async def use(it: Text) -> None:
        calls.append(1)
        if len(calls) <= failures:
            raise OSError

    gc.collect()
    gc.disable()
    try:
        await tried(partial(until, 5), partial(use, text))
        del text
        assert gone() is None
    finally:
        gc.enable()
