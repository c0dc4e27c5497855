"""How the database is, for people: its schema, clock, size, and how many use it."""

import time
from typing import NamedTuple

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from models import clock, schema
from worker.store.engine import connect


class Condition(NamedTuple):
    """What a database says of itself.

    Attributes:
        revision: of its schema; None where it has none.
        bytes: its size on disk.
        connections: those that are open, and `most_connections` how many may be; None on SQLite.
        ahead_s: by how many seconds its clock is ahead of this machine's.
    """

    revision: str | None
    bytes: int
    connections: int
    most_connections: int | None
    ahead_s: float


async def condition_of(url: str) -> Condition:
    """Ask the database at this URL; its schema may be any.

    Raises:
        ConfigurationError: it is no database's.
        SQLAlchemyError: it does not answer.
    """
    engine = connect(url)
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(schema.revision)
            if engine.dialect.name == "sqlite":
                size, used, most = await _number(connection, _SQLITE_BYTES), 1, None
            else:
                size = await _number(connection, _POSTGRES_BYTES)
                used = await _number(connection, _CONNECTIONS)
                most = await _number(connection, _MOST_CONNECTIONS)
            asked = time.time()
            now = await connection.scalar(select(clock()))
            assert now is not None
            ahead_s = now.timestamp() - (asked + time.time()) / 2
            return Condition(revision, size, used, most, ahead_s)
    finally:
        await engine.dispose()


_SQLITE_BYTES = "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size"
_POSTGRES_BYTES = "SELECT pg_database_size(current_database())"
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
_MOST_CONNECTIONS = "SELECT setting::int FROM pg_settings WHERE name = 'max_connections'"


async def _number(connection: AsyncConnection, question: str) -> int:
    return int(await connection.scalar(text(question)) or 0)
