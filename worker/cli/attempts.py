"""The attempts of a job: a table on a terminal, plain lines in a pipe."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from models import Attempt
from worker.cli.screen import printable
from worker.cli.summary import first_token_s, tokens, why

COLUMNS = ("attempt", "upstream", "began", "seconds", "first token", "characters", "tokens", "end")


def print_attempts(attempts: Sequence[Attempt]) -> None:
    """Print one row for each request to an upstream; nothing where there was none."""
    if not attempts:
        return
    rows = [_row(attempt) for attempt in attempts]
    if sys.stdout.isatty():
        table = Table(*COLUMNS)
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)
    else:
        for row in rows:
            named = (f"{name} {cell}" for name, cell in zip(COLUMNS, row, strict=True) if cell)
            sys.stdout.write(", ".join(named) + "\n")


def _row(attempt: Attempt) -> tuple[str, ...]:
    took_s = (attempt.finished_at - attempt.started_at).total_seconds()
    first_s, count = first_token_s(attempt), tokens(attempt.usage)
    failure = why(attempt.error_category, attempt.error_code, attempt.error_status)
    return (
        str(attempt.number),
        attempt.upstream,
        f"{attempt.started_at.astimezone():%H:%M:%S}",
        f"{took_s:.2f}",
        "" if first_s is None else f"{first_s:.2f}",
        str(attempt.length),
        "" if count is None else str(count),
        printable(failure or attempt.finish_reason or ""),
    )
