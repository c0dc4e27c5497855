"""The database engine of one process, for PostgreSQL and for SQLite."""

import hashlib
import sqlite3
from functools import partial
from pathlib import Path

import msgspec
from sqlalchemy import URL, Connection, event, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random

from models import Base, schema
from worker.errors import ConfigurationError, SchemaOutdated
from worker.store import connection
from worker.store.failures import READ_ONLY, sqlstate, translated

DRIVERS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}

# Statements are short and no connection is held while bytes flow, so a few serve thousands of
# streams.
POSTGRES_CONNECTIONS = 8
# SQLite has one writer at a time: queueing here is fair, waiting for its file lock is not.
SQLITE_CONNECTIONS = 1
# The execution option under which a connection begins transactions; without it each statement
# commits itself. Not SQLAlchemy's `isolation_level`: switching that at each checkout costs a round
# trip, and a caller that is cancelled during it leaves the connection lost to the pool.
TRANSACTION = "transaction"
# How long a statement waits for a connection, or SQLite for another process's write.
WAIT_S = 30.0
# How libpq notices that the other side is gone without a word: what was sent is not acknowledged
# for so long, or questions into the silence are not.
POSTGRES_SILENCE = {
    "connect_timeout": 10,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}

# psycopg's: never, however often a statement comes.
UNPREPARED = {"prepare_threshold": None}


def asynchronous_url(url: str) -> str:
    """The URL under the driver we use: psycopg 3, aiosqlite.

    Raises:
        ConfigurationError: no database URL, or one of another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigurationError(
            "DELTAWORKS_DATABASE_URL is no database URL; "
            "write postgresql://user@host/name or sqlite:////path/to/file.db"
        ) from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)
    if backend not in DRIVERS:
        raise ConfigurationError(
            f"DELTAWORKS_DATABASE_URL: {backend} is not supported; use postgresql or sqlite"
        )
    return parsed.set(drivername=DRIVERS[backend]).render_as_string(hide_password=False)


def connect(url: str, *, prepares: bool = True) -> AsyncEngine:
    """An engine for the URL; no connection is opened yet.

    Args:
        url: the database's, under any driver.
        prepares: whether statements that come often are prepared on their connection, which an
            old pgbouncer hands to somebody else after each transaction.

    Raises:
        ConfigurationError: see `asynchronous_url`.
    """
    url = asynchronous_url(url)
    is_sqlite = url.startswith("sqlite")
    engine = create_async_engine(
        url,
        async_creator=partial(connection.connected, make_url(url)) if is_sqlite else None,
        isolation_level="AUTOCOMMIT",
        pool_size=SQLITE_CONNECTIONS if is_sqlite else POSTGRES_CONNECTIONS,
        max_overflow=0,
        pool_timeout=WAIT_S,
        pool_pre_ping=not is_sqlite,
        connect_args={} if is_sqlite else POSTGRES_SILENCE | ({} if prepares else UNPREPARED),
        json_serializer=_to_json,
        json_deserializer=msgspec.json.decode,
        hide_parameters=True,
    )
    if is_sqlite:
        event.listen(engine.sync_engine, "connect", _configure_sqlite)
    event.listen(engine.sync_engine, "begin", _begin)
    event.listen(engine.sync_engine, "handle_error", _leave_former_primary)
    return engine


def insert_into(session: AsyncSession, row: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of the session's database, which can say what to do on a conflict."""
    on_postgresql = session.get_bind().dialect.name == "postgresql"
    return postgresql.insert(row) if on_postgresql else sqlite.insert(row)


def fingerprint(url: URL) -> str:
    """Names the database, whoever uses it: for files that belong to one."""
    backend, database = url.get_backend_name(), url.database
    if backend == "sqlite" and database:
        database = str(Path(database).absolute())
    place = URL.create(backend, None, None, url.host, url.port, database, url.query)
    return hashlib.sha256(place.render_as_string().encode()).hexdigest()[:16]


async def require_schema(engine: AsyncEngine) -> None:
    """Refuse a database that lacks a migration.

    Raises:
        SchemaOutdated: names the command that mends it.
        StoreAway: the database does not answer.
    """
    with translated():
        async with engine.connect() as connection:
            found = await connection.run_sync(schema.revision)
    if schema.outdated(found):
        at = f"at revision {found}" if found else "empty"
        raise SchemaOutdated(
            f"the database is {at}, this version needs {schema.HEAD}; run: deltaworks db upgrade"
        )


def _configure_sqlite(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {int(WAIT_S * 1000)}")
    # SQLite does not wait for others here, whatever its busy_timeout says.
    for attempt in Retrying(
        retry=retry_if_exception_type(sqlite3.OperationalError),
        wait=wait_random(0.005, 0.05),
        stop=stop_after_delay(WAIT_S),
        reraise=True,
    ):
        with attempt:
            cursor.execute("PRAGMA journal_mode = WAL")
    # With WAL a commit survives a killed process; NORMAL may lose the last ones to a power
    # cut, and what was announced must not be lost.
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get(TRANSACTION):
        # In SQLite a transaction takes the write lock at once: one that reads first and writes
        # later fails if another wrote in between.
        is_sqlite = connection.dialect.name == "sqlite"
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_sqlite else "BEGIN")


def _to_json(document: object) -> str:
    return msgspec.json.encode(document).decode()


def _leave_former_primary(context: ExceptionContext) -> None:
    """After a failover a connection to a server that only reads is worth nothing: open others."""
    error = context.sqlalchemy_exception
    if isinstance(error, DBAPIError) and sqlstate(error) == READ_ONLY:
        context.is_disconnect = True
