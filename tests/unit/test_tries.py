"""What was tried is gone when it is over: nothing waits for the garbage collector."""

import gc
import weakref

from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

from worker.tries import tried


class Text:
    """Stands for what a job holds."""


async def test_it_is_tried_as_tenacity_is_told() -> None:
    calls: list[int] = []

    async def third(of: int) -> int:
        calls.append(of)
        if len(calls) < 3:
            raise OSError
        return of

    retrying = AsyncRetrying(retry=retry_if_exception_type(OSError))
    assert await tried(retrying, third, 7) == 7 and calls == [7, 7, 7]


async def test_nothing_is_left_for_the_garbage_collector() -> None:
    text = Text()
    gone = weakref.ref(text)

    async def use(it: Text) -> str:
        return "done"

    gc.collect()
    gc.disable()
    try:
        retrying = AsyncRetrying(stop=stop_after_attempt(1), reraise=True)
        assert await tried(retrying, use, text) == "done"
        del text, retrying
        assert gone() is None
    finally:
        gc.enable()
