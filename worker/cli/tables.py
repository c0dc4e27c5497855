"""Rows for people: a table on a terminal, lines in a pipe. Programs have `--json`."""

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.cli.screen import printable

Row = Sequence[str]


def print_rows(
    columns: Row, rows: Iterable[Row], lines: Iterable[str], *, bare: bool = False
) -> None:
    """Print the rows where standard output is a terminal, else the lines.

    Args:
        columns: the names of each row's cells.
        rows: what the table has.
        lines: what a pipe gets instead, such as `joined` or `named`.
        bare: without rules, for many columns; the first is never broken, so that it can be copied.
    """
    if not sys.stdout.isatty():
        sys.stdout.writelines(f"{printable(line)}\n" for line in lines)
        return
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False) if bare else Table()
    for number, name in enumerate(columns):
        table.add_column(name, no_wrap=bare and number == 0)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    Console(highlight=False).print(table)


def joined(rows: Iterable[Row]) -> list[str]:
    """A line for each row: its cells with commas between them, without those that are empty."""
    return [", ".join(cell for cell in row if cell) for row in rows]


def named(columns: Row, rows: Iterable[Row]) -> list[str]:
    """The same, each cell behind the name of its column."""
    pairs = (zip(columns, row, strict=True) for row in rows)
    return [", ".join(f"{name} {cell}" for name, cell in row if cell) for row in pairs]
