"""A batch of thousands of rows, while workers, beat and the gateway are killed all the time."""

import asyncio
import time
from collections.abc import Iterator, Sequence

from models import BatchStatus, Job
from tests.faults import batch_checker, checker
from tests.faults.batch_checker import Outcome
from tests.faults.batching import Door, count, look, mixed, outcome, wipe
from tests.faults.load import Load, loading
from tests.faults.long.found import WORKERS, Found, tell
from tests.faults.long.ours import STUCK_S, TELL_S, on_postgres
from tests.faults.scene import BEATLESS, Scene
from tests.stack import Process

BEAT = ("-m", "worker.cli", "beat")
PAUSE_S = (1.0, 5.0)
# Whom it strikes; workers are more than the others.
VICTIMS = ("worker", "worker", "worker", "beat", "gateway")
# After which part of the rows Redis is wiped, at least and at most.
WIPED_AFTER = (0.2, 0.6)


async def batch(rows: int, seed: int) -> Found:
    """Rows of mixed models on four workers; whatever there is of ours is killed and replaced."""
    async with on_postgres(seed) as (at, _), loading(at.stack, at.random) as load:
        begun = time.monotonic()
        at.worker = BEATLESS
        await at.employ(WORKERS)
        lines = mixed(rows, at.random)
        async with Door(at) as door:
            id = await door.create(load, lines)
            async with asyncio.TaskGroup() as tasks:
                harming = [
                    tasks.create_task(_kill_for_ever(at, door)),
                    tasks.create_task(_wipe_once(at, load, id, rows)),
                ]
                await _ended(load, id, rows)
                for each in harming:
                    each.cancel()
            seconds = time.monotonic() - begun
            found = await outcome(at, door, load, id, lines)
    at.figures.read(found.evidence, at.kills, at.healed)
    at.figures.jobs = rows
    return _found(at, found, seconds)


async def _kill_for_ever(at: Scene, door: Door) -> None:
    beat = at.stack.start("beat", *BEAT)
    while True:
        await asyncio.sleep(at.random.uniform(*PAUSE_S))
        match at.random.choice(VICTIMS):
            case "worker":
                await at.kill()
            case "gateway":
                await door.kill()
            case _:
                beat = await _replaced(at, beat)


async def _replaced(at: Scene, beat: Process) -> Process:
    at.figures.kills += 1
    await asyncio.to_thread(beat.kill)
    return at.stack.start("beat", *BEAT)


async def _wipe_once(at: Scene, load: Load, id: str, rows: int) -> None:
    enough = at.random.uniform(*WIPED_AFTER) * rows
    while await _over(load, id) < enough:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.2)
    await asyncio.to_thread(wipe, at, hurried=False)
    tell("  Redis was wiped")


async def _ended(load: Load, id: str, rows: int) -> None:
    """Return when the batch has ended, or when no row of it has for long."""
    most, moved_at = -1, time.monotonic()
    while not BatchStatus((found := await look(load, id)).status).terminal:
        if (over := await _over(load, id)) > most:
            most, moved_at = over, time.monotonic()
        elif time.monotonic() > moved_at + STUCK_S:
            return
        tell(f"  {found.status}: {over:,} of {rows:,} rows have ended")
        await asyncio.sleep(TELL_S)


async def _over(load: Load, id: str) -> int:
    return await count(load, Job.batch_id == id, Job.finished_at.is_not(None))


def _found(at: Scene, found: Outcome, seconds: float) -> Found:
    evidence = found.evidence
    without_line = [said for said in batch_checker.every_row_has_one_line(found)]
    lost = _whose(checker.every_job_ends(evidence)) | _whose(_of(without_line, " 0 lines"))
    twice = _whose(checker.every_job_ends_once(evidence))
    twice |= _whose(said for said in without_line if not said.endswith(" 0 lines"))
    wrong = _whose(checker.saved_text_is_what_was_served(evidence))
    wrong |= _whose(batch_checker.lines_say_what_is_saved(found))
    return Found(
        load="batch",
        figures=at.figures,
        lost=len(lost),
        twice=len(twice),
        wrong=len(wrong),
        violations=[*checker.violations(evidence), *batch_checker.violations(found)],
        seconds=seconds,
    )


def _of(said: Sequence[str], end: str) -> Iterator[str]:
    return (sentence for sentence in said if sentence.endswith(end))


def _whose(said: Iterator[str]) -> set[str]:
    """Of which jobs or rows that is said: each sentence begins with one."""
    return {sentence.split()[0].rstrip(":") for sentence in said}
