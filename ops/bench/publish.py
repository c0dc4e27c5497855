"""`python -m ops.bench.publish [FOLDER]`: write the results page from what was last handed in.

Nothing is run. It goes to ops/bench where no folder is given.
"""

import sys
from pathlib import Path

from ops.bench.page import HERE, NAMES, publish
from ops.bench.reported import Report


def publish_kept(folder: Path = HERE) -> None:
    """Write it."""
    kept = [report for name in NAMES if (report := Report.kept(name)) is not None]
    publish(kept, folder)


if __name__ == "__main__":
    publish_kept(*map(Path, sys.argv[1:]))
