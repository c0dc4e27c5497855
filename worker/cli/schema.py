"""`db upgrade`: the database's schema."""

import sys

from models import schema
from worker import settings
from worker.cli.jobs import print_json
from worker.endpoints import embedded_database
from worker.logs import log_as_command
from worker.store import asynchronous_url


def upgrade(*, json: bool) -> None:
    """Run the missing migrations, and say from which revision to which.

    Raises:
        ConfigurationError: the URL is no database's.
    """
    log_as_command()
    chosen = settings.load()
    url = chosen.database_url or embedded_database(chosen.home)
    before, after = schema.upgrade(asynchronous_url(url))
    if json:
        print_json({"before": before, "after": after})
    elif before == after:
        sys.stdout.write(f"the schema is up to date: revision {after}\n")
    else:
        sys.stdout.write(f"the schema is upgraded: {before or 'empty'} -> {after}\n")
