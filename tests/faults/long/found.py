"""What one load of the long form came to."""

import sys

from msgspec import Struct

from tests.faults.figures import Figures

WORKERS = 4
KILL_EVERY_S = 1.0
# How many jobs wait at most: a queue that every worker's first look finds full.
BACKLOG = 1_500


class Found(Struct, kw_only=True):
    """`lost`, `twice` and `wrong` count jobs; `violations` are the checker's sentences."""

    load: str
    figures: Figures
    lost: int
    twice: int
    wrong: int | None = None
    violations: list[str]
    seconds: float


def tell(sentence: str) -> None:
    """Say how it goes, to whoever waits for it."""
    sys.stderr.write(f"{sentence}\n")
