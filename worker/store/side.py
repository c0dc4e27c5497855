"""What the sides of the store share: their sessions, and statements that run to their end."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.ext.asyncio import AsyncEngine, async_sessionmaker
from tenacity import (
    AsyncRetrying,
    retry_if_exception_type,
    stop_after_delay,
    wait_random_exponential,
)

from worker.errors import StoreAway
from worker.store.engine import TRANSACTION
from worker.store.failures import translated
from worker.tries import tried

# How long statements whose caller has gone may still take when the store is closed.
LAST_STATEMENTS_S = 5.0
# How long a statement is repeated while the database is away, and the limits of the pauses, of
# which each is any part of its limit. Whoever must wait longer knows how long.
PATIENCE_S = 3.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0

_IF_AWAY = retry_if_exception_type(StoreAway)
_PAUSES = wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LAST_PAUSE_S)
_PATIENCE = stop_after_delay(PATIENCE_S)
# A session lives as long as its statements: there is nothing in it that an UPDATE would make stale.
_UNSYNCHRONIZED = {"synchronize_session": False}

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Side")


class Side:
    """One side of the store: single statements commit themselves, transactions begin and end."""

    def __init__(self, engine: AsyncEngine) -> None:
        whole = engine.execution_options(**{TRANSACTION: True})
        self._session = async_sessionmaker(
            engine, expire_on_commit=False, execution_options=_UNSYNCHRONIZED
        )
        self._transaction = async_sessionmaker(
            whole, expire_on_commit=False, execution_options=_UNSYNCHRONIZED
        )
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


def once(
    method: Callable[Concatenate[S, P], Coroutine[object, object, R]],
) -> Callable[Concatenate[S, P], Coroutine[object, object, R]]:
    """Have the method run to its end when its caller is cancelled.

    Broken off in mid-statement, SQLAlchemy's connection is lost to the pool until the garbage
    collector finds it, with SQLite's write lock if it had that; and psycopg first waits for the
    server, so that a caller's timeout would not end while the server hangs.

    Raises:
        StoreAway: a failure that passes.
    """

    async def attempted(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with translated():
            return await method(self, *args, **kwargs)

    return _shielded(wraps(method)(attempted))


def unbroken(
    method: Callable[Concatenate[S, P], Coroutine[object, object, R]],
) -> Callable[Concatenate[S, P], Coroutine[object, object, R]]:
    """As `once`, and again for a while where a failure may pass: to repeat it does no harm."""

    async def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await _repeated(lambda _: method(self, *args, **kwargs))

    return _shielded(wraps(method)(repeated))


def resolving(
    method: Callable[Concatenate[S, bool, P], Coroutine[object, object, R]],
) -> Callable[Concatenate[S, P], Coroutine[object, object, R]]:
    """As `unbroken`, for a method that is told whether a try before may have been carried out."""

    async def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await _repeated(lambda unsure: method(self, unsure, *args, **kwargs))

    return _shielded(wraps(method)(repeated))


def _shielded(
    method: Callable[Concatenate[S, P], Coroutine[object, object, R]],
) -> Callable[Concatenate[S, P], Coroutine[object, object, R]]:
    @wraps(method)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.shield(self.keep(asyncio.create_task(method(self, *args, **kwargs))))

    return run


async def _repeated(write: Callable[[bool], Coroutine[object, object, R]]) -> R:
    unsure = False

    async def once_more() -> R:
        nonlocal unsure
        try:
            with translated():
                return await write(unsure)
        except StoreAway as away:
            unsure = away.unsure = unsure or away.unsure
            raise

    return await tried(_retrying, once_more)


def _retrying() -> AsyncRetrying:
    return AsyncRetrying(retry=_IF_AWAY, wait=_PAUSES, stop=_PATIENCE, reraise=True)
