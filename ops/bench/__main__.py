"""All benchmarks, one after the other, and the results page.

    python -m ops.bench                      five runs of each: some hours, on a machine at rest
    python -m ops.bench --quick              less of everything; its page goes to ops/bench/out
    python -m ops.bench --only jobs start    some; of the others the page keeps what was found last

Each is a command of its own, `python -m ops.bench.<name>`. Where one fails the others still run;
it is not on the page then, and the exit status is 1.
"""

import argparse
import subprocess
import sys
import time

from ops.bench.page import HERE, NAMES
from ops.bench.processes import ROOT
from ops.bench.publish import publish_kept
from ops.bench.reported import OUT, Report

RUNS = 5


def main() -> None:
    """Run them, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--quick", action="store_true", help="one run with less of everything")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=NAMES, help="not all")
    arguments = parser.parse_args()
    options = ["--quick"] if arguments.quick else ["--runs", str(arguments.runs)]
    failed = [name for name in arguments.only if not _run(name, options)]
    publish_kept(OUT if arguments.quick else HERE)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


def _run(name: str, options: list[str]) -> bool:
    """Run one benchmark; whether it has handed something in."""
    Report.forget(name)
    command = [sys.executable, "-m", f"ops.bench.{name}", *options]
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {' '.join(command[1:])}\n")
    sys.stdout.flush()
    ended = subprocess.run(command, cwd=ROOT, check=False)  # noqa: S603 - modules of this package
    return ended.returncode == 0


if __name__ == "__main__":
    main()
