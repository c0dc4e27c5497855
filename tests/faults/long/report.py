"""The long form's table, as it is printed and as it is kept."""

import os
import platform
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.faults.figures import percentile
from tests.faults.long.found import Found

PAGE = Path(__file__).parents[3] / "ops" / "bench" / "RESULTS-faults.md"
COLUMNS = (
    "load", "jobs", "kills", "crashes", "rescued", "fenced", "woken again", "redelivered",
    "**lost**", "**ended twice**", "**wrong texts**", "requests a job",
    "recovery s p50 / p95 / max", "seconds",
)  # fmt: skip


def table(found: Sequence[Found]) -> list[str]:
    """One row a load."""
    rows = ["| " + " | ".join(COLUMNS) + " |", "|" + " --- |" * len(COLUMNS)]
    for each in found:
        figures = each.figures
        times = [percentile(figures.recovery_s, share) for share in (0.5, 0.95, 1.0)]
        ours = each.wrong is not None
        cells = [
            each.load, f"{figures.jobs:,}", f"{figures.kills:,}", f"{figures.injuries:,}",
            f"{figures.rescued:,}" if ours else "", f"{figures.fenced:,}" if ours else "",
            f"{figures.resent:,}" if ours else "", f"{figures.redelivered:,}" if ours else "",
            f"**{each.lost:,}**", f"**{each.twice:,}**" if ours else f"{each.twice:,} run twice",
            f"**{each.wrong:,}**" if ours else "", f"{figures.requests / figures.jobs:.2f}",
            " / ".join(f"{seconds:.2f}" for seconds in times) if figures.recovery_s else "",
            f"{each.seconds:,.0f}",
        ]  # fmt: skip
        rows.append("| " + " | ".join(cells) + " |")
    return rows


def violations(found: Sequence[Found]) -> Iterator[str]:
    """What the checker says of each load, or that it found nothing."""
    for each in found:
        yield f"{each.load} (seed {each.figures.seed}): {len(each.violations)} violations"
        yield from (f"  {sentence}" for sentence in each.violations[:20])


def publish(found: Sequence[Found]) -> None:
    """Write the page."""
    command = " ".join(["python -m tests.faults.long", *sys.argv[1:]])
    page = [
        "# Faults, the long form",
        "",
        f"Made by `{command}` (`make faults`) on {os.cpu_count()} cores, {platform.machine()}, "
        f"CPython {platform.python_version()}.",
        "",
        *table(found),
        "",
        *EXPLANATION,
        "",
        "The checker's word: " + "; ".join(violations(found)) + ".",
        "",
    ]
    PAGE.write_text("\n".join(page))


EXPLANATION = (
    "- Jobs take 0.2 to 1.2 s and say something else in each attempt. Four worker processes of",
    "  100 streams, PostgreSQL, one Redis as broker and another as channel, leases of 2 s",
    "  (`crashes`: 20 s), all on the machine's two cores. `kills`: every second one worker, chosen",
    "  at random, gets SIGKILL and is replaced. `crashes`: three seconds after PostgreSQL came up",
    "  it gets SIGQUIT, and comes back after up to two.",
    "- `batch`: the rows of one file of mixed models, created through a gateway. Of a hundred,",
    "  four have a fault that is retried, two fail, and two would not if they were run again.",
    "  Every one to five seconds a worker, beat (in a process of its own) or the gateway gets",
    "  SIGKILL and is replaced; once both Redis are emptied. `lost` are rows that have not",
    "  ended or have no line in the files of results, `ended twice` are also those with two",
    "  lines, `wrong texts` those whose line has another text than was saved, too. The batch's",
    "  sums are checked as well, and that nothing is sent to the upstream for a row whose end",
    "  is committed.",
    "- `rescued`: taken back from a dead holder. `fenced`: holders that found out that they had",
    "  lost a job and wrote nothing. `woken again`: the broker had lost the wake-up, or was slow.",
    "  `redelivered`: messages for jobs that were not to be had any more.",
    "- `recovery`: from a kill to the next claim of each job that it cost; from the database's",
    "  return to the first job that ended after it.",
    "- `plain Celery`: the same jobs, workers and kills, a task with `task_acks_late` and",
    "  `task_reject_on_worker_lost` that streams from the same simulator and keeps the text.",
    "  `lost` are those that never ended though their visibility timeout (5 s instead of an hour)",
    "  passed several times after the last kill.",
)
