"""A copy of an SQLite database that is at work."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url

from worker.disk import for_us_alone, sync
from worker.errors import ConfigurationError, InvalidRequest, StoreAway
from worker.store.engine import WAIT_S, asynchronous_url


def back_up(url: str, to: Path) -> int:
    """Copy the database as it is at one moment; those who write do not wait for it.

    Not a copy of the file: what has been committed may still lie in the log beside it. And not
    SQLite's backup API, which begins again whenever another process writes.

    Returns:
        The copy's size in bytes. It is whole, and only for this user to read.

    Raises:
        ConfigurationError: it is no SQLite database.
        InvalidRequest: the file is there already.
        StoreAway: it cannot be copied; nothing is left.
        OSError: the file cannot be made.
    """
    parsed = make_url(asynchronous_url(url))
    if parsed.get_backend_name() != "sqlite":
        shown = URL.create(
            "postgresql", parsed.username, None, parsed.host, parsed.port, parsed.database
        ).render_as_string()
        raise ConfigurationError(
            "DELTAWORKS_DATABASE_URL is PostgreSQL, which has a tool of its own; run: "
            f"pg_dump --format=custom --file=FILE '{shown}'"
        )
    if to.exists():
        raise InvalidRequest("FILE", f"{str(to)!r} is there already", "name another one")
    draft = to.with_name(f"{to.name}.part")
    draft.unlink(missing_ok=True)
    os.close(for_us_alone(str(draft), os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    try:
        source = f"{Path(parsed.database or '').absolute().as_uri()}?mode=rw"
        with closing(sqlite3.connect(source, WAIT_S, isolation_level=None, uri=True)) as database:
            database.execute("VACUUM INTO ?", (str(draft),))
        sync(draft)
        draft.replace(to)
        sync(to.absolute().parent)
    except sqlite3.Error as error:
        raise StoreAway(f"the database cannot be copied: {error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return to.stat().st_size
