"""tenacity's loop, entered only where something has failed, and without what it leaves behind.

Almost everything succeeds at once; tenacity's objects cost a tenth of a short job's time, and its
state for each open stream several kilobytes. Its object also holds the state of its loop, and the
state holds the object and all that was tried: a circle, which only the garbage collector would
find, with a job's whole text in it.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from tenacity import AsyncRetrying

R = TypeVar("R")


async def tried(retrying: Callable[[], AsyncRetrying], once: Callable[[], Awaitable[R]]) -> R:
    """What `once` returns or raises at last, tried as `retrying` says.

    Args:
        retrying: makes tenacity's object, where the first try has failed.
        once: a try.
    """
    try:
        return await once()
    except Exception as error:
        failed: Exception | None = error

    async def again() -> R:
        nonlocal failed
        if failed is not None:  # the first try, for tenacity to see
            try:
                raise failed
            finally:
                failed = None  # it holds this frame, which held it
        return await once()

    loop = retrying()
    try:
        found: R = await loop(again)
    finally:
        loop.iter_state.reset()
    return found
