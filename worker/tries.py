"""tenacity's loop without what it leaves behind.

Its object holds the state of its loop, and the state holds the object and all that was tried: a
circle, which only the garbage collector would find, with a job's whole text in it.
"""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from tenacity import AsyncRetrying

P = ParamSpec("P")
R = TypeVar("R")


async def tried(
    retrying: AsyncRetrying,
    function: Callable[P, Awaitable[R]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> R:
    """What the function returns or raises at last, tried as `retrying` says. Only once for each."""
    try:
        found: R = await retrying(function, *args, **kwargs)
    finally:
        retrying.iter_state.reset()
    return found
