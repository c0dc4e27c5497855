"""The schema's version: bring a database up to date, or say that it is not.

Alembic is imported only where a migration runs: a worker that merely checks does not pay for it.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

# The newest revision in `models/migrations/versions`; revisions are numbered in order.
HEAD = "0012"

# How long SQLite waits for the upgrade of another process.
SQLITE_WAIT_S = 30.0


def upgrade(url: str) -> tuple[str | None, str]:
    """Run the missing migrations. Safe to run twice, and by several at once.

    Returns:
        The revision before and after; None before where the database was empty.
    """
    engine = _engine(url)
    try:
        with engine.connect() as connection:
            found = revision(connection)
        if found is not None and not outdated(found):
            return found, found
        with engine.begin() as connection:
            before = revision(connection)
            _run_migrations(connection)
        return before, HEAD
    finally:
        engine.dispose()


def _run_migrations(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _engine(url: str) -> Engine:
    url = _synchronous(url)
    if not url.startswith("sqlite"):
        return create_engine(url)
    engine = create_engine(url, connect_args={"timeout": SQLITE_WAIT_S})

    @event.listens_for(engine, "connect")
    def _configure(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # else Python commits before each CREATE TABLE

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # The write lock at once: two upgrades take turns, as on PostgreSQL by its advisory lock.
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def revision(connection: Connection) -> str | None:
    """The database's revision; None where no migration has run."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def outdated(found: str | None) -> bool:
    """Whether the code needs a migration that the database lacks.

    A newer database is not outdated: during a rolling upgrade the old code runs beside the new
    schema, which stays compatible one version back.
    """
    return found is None or int(found) < int(HEAD)


def newer(found: str | None) -> bool:
    """Whether the database has had a migration that the code does not know."""
    return found is not None and int(found) > int(HEAD)


def _synchronous(url: str) -> str:
    """psycopg serves both worlds under one name; SQLite's asyncio driver does not."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(drivername="sqlite")
    return parsed.render_as_string(hide_password=False)
