"""The operator's commands and their options; each imports its room when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Json

app = typer.Typer()
database = typer.Typer(no_args_is_help=True, help="The database's schema, and copies of it.")
app.add_typer(database, name="db", rich_help_panel="Processes")

_PROCESSES = "Processes"


@app.command(rich_help_panel=_PROCESSES)
def doctor(
    ask: Annotated[
        list[str] | None,
        typer.Option("--ask", metavar="UPSTREAM", help="Ask it for one token. Repeatable."),
    ] = None,
    ask_all: Annotated[
        bool, typer.Option("--ask-all", help="Ask every upstream: a token each is paid for.")
    ] = False,
    json: Json = False,
) -> None:
    """Check the configuration, and all that it leads to; exit code 1 where something fails."""
    from worker.cli import doctor as room

    raise SystemExit(room.examine(ask or [], ask_all=ask_all, json=json))


@app.command(rich_help_panel=_PROCESSES)
def workers(json: Json = False) -> None:
    """Show the worker processes, and how many jobs each holds."""
    from worker.cli import fleet

    raise SystemExit(fleet.show(json=json))


@app.command(rich_help_panel=_PROCESSES)
def drain(
    worker: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORKER", help="As `workers` shows it; or a host: all of it."),
    ] = None,
    everyone: Annotated[bool, typer.Option("--all", help="Every worker there is.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Return when they have ended.")] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help="Of --wait; else for ever.")
    ] = None,
    json: Json = False,
) -> None:
    """Have workers take no more jobs, give back what the grace does not see ended, and exit."""
    from worker.cli import fleet

    named = worker or []
    raise SystemExit(fleet.drain(named, everyone=everyone, wait=wait, timeout_s=timeout, json=json))


@database.command()
def upgrade(json: Json = False) -> None:
    """Bring the database's schema up to date."""
    from worker.cli import schema

    schema.upgrade(json=json)


@database.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The copy; it must not exist.")],
    json: Json = False,
) -> None:
    """Copy an SQLite database while it is at work. For PostgreSQL there is pg_dump."""
    from worker.cli import schema

    schema.backup(file, json=json)
