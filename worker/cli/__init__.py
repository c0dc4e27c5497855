"""The command line: `deltaworks`.

`commands` declares the options and imports a command's room only when it runs, so that `--help`
answers at once. Data go to standard output, everything else to standard error; the exit code
tells the outcome (see `exits`).
"""

from worker.cli.exits import sentences_for_errors

__all__ = ["main"]


def main() -> None:
    """The entry point of `deltaworks`."""
    with sentences_for_errors():
        from worker.cli.commands import app

        app(prog_name="deltaworks")
