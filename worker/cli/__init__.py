"""The command line: `deltaworks`.

`commands` declares the options and imports a command's room only when it runs, so that `--help`
answers at once. Data go to standard output, everything else to standard error; the exit code
tells the outcome (see `exits`).
"""

import os
import signal
from types import FrameType

from worker.cli.exits import sentences_for_errors

__all__ = ["main"]


def main() -> None:
    """The entry point of `deltaworks`."""
    if os.getpid() == 1:  # a container's first process: by default the kernel ignores it for us
        signal.signal(signal.SIGTERM, _end)
    with sentences_for_errors():
        from worker.cli.commands import app

        app(prog_name="deltaworks")


def _end(number: int, _frame: FrameType | None) -> None:
    """Until the command has a handler of its own."""
    raise SystemExit(128 + number)
