"""aiosqlite's connection with one change of threads for each statement, and none for the rest.

aiosqlite asks its thread for a cursor, for the execution, for the rows, for the cursor's end and
for a rollback of nothing: five changes, of which each waits for the interpreter's lock behind a
busy loop. Here a statement is executed and its rows are fetched in one.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import aiosqlite
from sqlalchemy import URL


async def connected(url: URL) -> "Connection":
    """A new connection to the URL's file, for SQLAlchemy's dialect of aiosqlite."""
    words, options = url.get_dialect()().create_connect_args(url)
    connection = Connection(partial(sqlite3.connect, *words, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # as SQLAlchemy does: the process may end without closing it
    await connection
    return connection


class Connection(aiosqlite.Connection):
    """As aiosqlite's, with cursors of another kind."""

    def cursor(self) -> "Cursor":  # type: ignore[override]  # SQLAlchemy wants no more of it
        """A cursor that belongs to nobody yet."""
        return Cursor(self)

    async def rollback(self) -> None:
        """Roll back what was begun; SQLAlchemy asks for that after each statement."""
        if self.in_transaction:
            await super().rollback()

    async def answer(self, cursor: "Cursor", execute: str, *words: Any) -> None:
        """Have the cursor hold what one of the connection's methods returns, rows and all."""
        answered = partial(_answer, cursor, getattr(self._conn, execute), words)
        await self._execute(answered)  # type: ignore[no-untyped-call]  # aiosqlite's way to its thread


class Cursor:
    """What SQLAlchemy asks of a driver's cursor. All rows of a statement are there at once."""

    arraysize = 1

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.rows: list[Any] = []
        self.description: Any = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    async def __aenter__(self) -> "Cursor":
        return self

    async def execute(self, statement: str, parameters: Iterable[Any] = ()) -> "Cursor":
        """Execute it."""
        await self._connection.answer(self, "execute", statement, parameters)
        return self

    async def executemany(self, statement: str, parameters: Iterable[Iterable[Any]]) -> "Cursor":
        """Execute it for each of the parameters."""
        await self._connection.answer(self, "executemany", statement, parameters)
        return self

    async def fetchall(self) -> Sequence[Any]:
        """The rows, which are given away."""
        rows, self.rows = self.rows, []
        return rows

    async def close(self) -> None:
        """Nothing is open."""


def _answer(cursor: Cursor, execute: Any, words: Sequence[Any]) -> None:
    answered = execute(*words)
    try:
        cursor.description = answered.description
        cursor.rows = [] if answered.description is None else answered.fetchall()
        cursor.rowcount, cursor.lastrowid = answered.rowcount, answered.lastrowid
    finally:
        answered.close()
