"""`db upgrade` and `db backup`: the database's schema, and a copy of it."""

import sys
from pathlib import Path

from models import schema
from worker import settings
from worker.cli.screen import print_json
from worker.endpoints import embedded_database
from worker.logs import log_as_command
from worker.store import asynchronous_url, back_up


def upgrade(*, json: bool) -> None:
    """Run the missing migrations, and say from which revision to which.

    Raises:
        ConfigurationError: the URL is no database's.
    """
    log_as_command()
    before, after = schema.upgrade(asynchronous_url(_database_url()))
    if json:
        print_json({"before": before, "after": after})
    elif before == after:
        sys.stdout.write(f"the schema is up to date: revision {after}\n")
    else:
        sys.stdout.write(f"the schema is upgraded: {before or 'empty'} -> {after}\n")


def backup(file: Path, *, json: bool) -> None:
    """Copy an SQLite database while it is at work, and say how large the copy is.

    Raises:
        ConfigurationError: it is PostgreSQL; says what to run instead.
        InvalidRequest: the file is there already.
        StoreAway, OSError: it cannot be copied.
    """
    log_as_command()
    size = back_up(_database_url(), file)
    if json:
        print_json({"file": str(file), "bytes": size})
    else:
        sys.stdout.write(f"{file}: {size:,} bytes\n")


def _database_url() -> str:
    chosen = settings.load()
    return chosen.database_url or embedded_database(chosen.home)
