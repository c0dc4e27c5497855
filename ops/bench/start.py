"""How long a worker takes from its start to its first claimed job, and `deltaworks --help`.

    python -m ops.bench.start              ten starts of each, with files in the system's cache
    python -m ops.bench.start --runs 3     three times ten

A job waits in the queue when its worker is started, as the command line starts it; the claim's
moment is the one in the job's row.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import select

from models import Job
from ops.bench import chart
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import POSTGRESQL, SQLITE, Scene
from ops.bench.machine import machine
from ops.bench.page import hand_in
from ops.bench.processes import ROOT, Child
from ops.bench.reported import Bar, Report
from ops.bench.tables import grouped, table

# The bars, in seconds.
MOST_CLAIM_S, MOST_HELP_S = 2.0, 0.3
# How often each is started for one run's median, after once for the system's cache of files.
STARTS, QUICK = 10, 2
PATIENCE_S, LOOK_S = 60.0, 0.02
PACKAGES = ("celery", "sqlalchemy", "httpx", "redis", "typer", "uvloop")
HELP = "deltaworks --help"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one run found: of one command, the seconds that each of its starts took.

    Attributes:
        cpu_s: seconds of CPU until then: on a machine that others use, what tells more.
    """

    what: str
    seconds: list[float]
    cpu_s: list[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.seconds)


def to_claim(database: str, starts: int) -> Result:
    """From the start of `deltaworks worker` to its claim of a job that waits for it."""
    with Scene(database) as scene:
        found = [_claimed_after(scene, number) for number in range(starts + 1)]
    return _result(f"to the first claimed job, {database}", found)


def _claimed_after(scene: Scene, number: int) -> tuple[float, float]:
    id = scene.printed_by("load", 1, EMPTY).decode().strip()
    begun = time.time()
    command: list[str | Path] = [_program(), "worker"]
    with Child(f"worker-{number}", command, scene.folder, scene.environment) as worker:
        deadline = begun + PATIENCE_S
        while (claimed := _claimed(scene, id)) is None:
            if time.time() > deadline:
                raise TimeoutError(f"no job is claimed:\n{worker.printed()[-3000:]}")
            time.sleep(LOOK_S)
        used_s = worker.cpu_s()
    return claimed - begun, used_s


def _claimed(scene: Scene, id: str) -> float | None:
    """When the job was, in seconds since the epoch."""
    with scene.session() as session:
        started_at = session.scalar(select(Job.started_at).where(Job.id == id))
    return None if started_at is None else started_at.timestamp()


def helped(starts: int) -> Result:
    """From the start of `deltaworks --help` to its end."""
    return _result(HELP, [_helped() for _ in range(starts + 1)])


def _helped() -> tuple[float, float]:
    begun, before_s = time.monotonic(), _children_s()
    command: list[str | Path] = [_program(), "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)  # noqa: S603 - ours
    return time.monotonic() - begun, _children_s() - before_s


def _children_s() -> float:
    """The CPU time of children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _result(what: str, found: Sequence[tuple[float, float]]) -> Result:
    """Of all but the first start, which fills the system's cache of files."""
    seconds, cpu_s = (
        [round(each, 3) for each in column] for column in zip(*found[1:], strict=True)
    )
    return Result(what=what, seconds=seconds, cpu_s=cpu_s)


def _program() -> Path:
    """The command line, as it is installed beside this interpreter."""
    return Path(sys.executable).with_name("deltaworks")


def report(results: Sequence[Result], runs: int) -> Report:
    """The medians of the runs' medians, and the bars."""
    found = {what: each for what, each in grouped(results, lambda r: r.what).items()}
    medians = {what: statistics.median(r.median for r in each) for what, each in found.items()}
    rows = [
        [
            what,
            f"**{medians[what]:.2f}**",
            f"{min(min(r.seconds) for r in each):.2f}",
            f"{max(max(r.seconds) for r in each):.2f}",
            f"{statistics.median(s for r in each for s in r.cpu_s):.2f}",
            f"{sum(len(r.seconds) for r in each)}",
        ]
        for what, each in found.items()
    ]
    title = "Start of a worker, and of the command line"
    return Report(
        name="start",
        title=title,
        command=" ".join(["python -m ops.bench.start", *sys.argv[1:]]),
        machine=machine(PACKAGES),
        runs=runs,
        body="\n".join(
            [
                "Seconds; a job waits in the queue before its worker is started:\n",
                *table(["", "median", "lowest", "highest", "of CPU", "starts"], rows),
            ]
        ),
        bars=[
            Bar(f"s, {what}", MOST_HELP_S if what == HELP else MOST_CLAIM_S, round(median, 3))
            for what, median in medians.items()
        ],
        charts={"start.svg": chart.bars(title, "seconds", medians)},
        results=msgspec.Raw(msgspec.json.encode(results)),
    )


def main() -> None:
    """Measure, print, and hand in."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few starts: it shows that it works")
    arguments = parser.parse_args()
    starts, results = QUICK if arguments.quick else STARTS, list[Result]()
    for _ in range(arguments.runs):
        results += [to_claim(SQLITE, starts), to_claim(POSTGRESQL, starts), helped(starts)]
    hand_in(report(results, arguments.runs))


if __name__ == "__main__":
    main()
