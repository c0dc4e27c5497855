"""What the sides of the store share: their sessions, and statements that run to their end."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker

from worker.store.engine import TRANSACTION

# How long statements whose caller has gone may still take when the store is closed.
LAST_STATEMENTS_S = 5.0

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Side")


class Side:
    """One side of the store: single statements commit themselves, transactions begin and end."""

    def __init__(self, engine: AsyncEngine) -> None:
        whole = engine.execution_options(**{TRANSACTION: True})
        self._session = async_sessionmaker(engine, expire_on_commit=False)
        self._transaction = async_sessionmaker(whole, expire_on_commit=False)
        self._under_way: set[asyncio.Task[object]] = set()

    async def aclose(self) -> None:
        """Wait, not for long, for what is under way."""
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=LAST_STATEMENTS_S)

    def keep(self, task: asyncio.Task[R]) -> asyncio.Task[R]:
        """Hold on to a task until it is done."""
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


def unbroken(
    method: Callable[Concatenate[S, P], Coroutine[object, object, R]],
) -> Callable[Concatenate[S, P], Coroutine[object, object, R]]:
    """Have the method run to its end when its caller is cancelled.

    Broken off in mid-statement, SQLAlchemy's connection is lost to the pool until the garbage
    collector finds it, with SQLite's write lock if it had that; and psycopg first waits for the
    server, so that a caller's timeout would not end while the server hangs.
    """

    @wraps(method)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.shield(self.keep(asyncio.create_task(method(self, *args, **kwargs))))

    return run
