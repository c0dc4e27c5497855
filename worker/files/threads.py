"""The storage for a loop: each step that blocks is done in a thread, and to its end."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import ParamSpec, TypeVar

from worker.files.storage import Storage, Writable

# What a step reads.
PIECE = 256 * 1024

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call the function in a thread; a caller that is cancelled waits for its end all the same.

    Else the next step, which closes the file, would come while this one is at work on it.
    """
    working = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        while not working.done():
            await _ended(working)
        raise


@asynccontextmanager
async def draft(storage: Storage, id: str) -> AsyncIterator[Writable]:
    """`storage.writing(id)`, entered and left in threads; its `write` blocks as ever."""
    context = storage.writing(id)
    file = await in_thread(context.__enter__)
    try:
        yield file
    except BaseException as error:
        await in_thread(context.__exit__, type(error), error, error.__traceback__)
        raise
    await in_thread(context.__exit__, None, None, None)


async def pieces(storage: Storage, id: str) -> AsyncIterator[bytes]:
    """The content in pieces of 256 KB at most.

    Raises:
        FileNotFound, StorageAway: as of `Storage.reading`, with any piece.
    """
    context = storage.reading(id)
    file = await in_thread(context.__enter__)
    try:
        while piece := await in_thread(file.read, PIECE):
            yield piece
    finally:
        await in_thread(context.__exit__, None, None, None)


async def _ended(working: "asyncio.Future[R]") -> None:
    try:
        await asyncio.wait([working])
    except asyncio.CancelledError:  # again: still it goes on
        return
