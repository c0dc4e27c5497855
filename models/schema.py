"""The schema's version: bring a database up to date, or say that it is not.

Alembic is imported only where a migration runs: a worker that merely checks does not pay for it.
"""

from pathlib import Path

from sqlalchemy import Connection, create_engine, inspect, make_url, text

# The newest revision in `models/migrations/versions`; revisions are numbered in order.
HEAD = "0001"


def upgrade(url: str) -> tuple[str | None, str]:
    """Run the missing migrations. Safe to run twice, and by several at once on PostgreSQL.

    Returns:
        The revision before and after; None before where the database was empty.
    """
    from alembic import command
    from alembic.config import Config

    engine = create_engine(_synchronous(url))
    try:
        with engine.begin() as connection:
            before = revision(connection)
            config = Config()
            config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return before, HEAD
    finally:
        engine.dispose()


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


def _synchronous(url: str) -> str:
    """psycopg serves both worlds under one name; SQLite's asyncio driver does not."""
    parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite":
        parsed = parsed.set(drivername="sqlite")
    return parsed.render_as_string(hide_password=False)
