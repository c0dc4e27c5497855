"""Thousands of jobs on real workers that are killed, or whose database crashes, all the time."""

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from tests.faults import checker
from tests.faults.checker import Check
from tests.faults.evidence import Evidence
from tests.faults.figures import Figures
from tests.faults.load import Load, loading
from tests.faults.long.found import BACKLOG, KILL_EVERY_S, WORKERS, Found, tell
from tests.faults.scene import Scene, scene
from tests.servers import PostgresServer
from tests.wire import until
from worker.errors import StoreAway

CRASH_EVERY_S = 3.0
# How long the database stays away, at least and at most.
AWAY_S = (0.0, 2.0)
# In tests in which nobody is to lose a lease: longer than the database is ever away.
LEASE_S = 20.0
# How many submit at once, and of how many jobs one has a live reader.
SUBMITTERS, READ_EACH = 8, 20
# Of how many jobs late readers and logs are looked at.
SAMPLE = 500
# Nothing has ended for so long: it will not.
STUCK_S = 300.0
TELL_S = 5.0

Nemesis = Callable[[Scene], Coroutine[object, object, None]]


async def kills(jobs: int, seed: int) -> Found:
    """Jobs of 0.2 to 1.2 s on four workers; every second one of them is killed and replaced."""
    async with on_postgres(seed) as (at, _):

        async def kill_for_ever(at: Scene) -> None:
            while True:
                begun = time.monotonic()
                # Where starting takes longer than four kills, nobody would ever work.
                await until(at.served)
                await at.kill()
                await asyncio.sleep(max(0.0, begun + KILL_EVERY_S - time.monotonic()))

        return await _endure("kills", at, jobs, kill_for_ever)


async def crashes(jobs: int, seed: int) -> Found:
    """The same jobs while PostgreSQL crashes three seconds after it came up."""
    async with on_postgres(seed) as (at, postgres):
        at.lease(LEASE_S)

        async def crash_for_ever(at: Scene) -> None:
            while True:
                await asyncio.sleep(CRASH_EVERY_S)
                with at.injury():
                    await asyncio.to_thread(postgres.stop, immediate=True)
                    await asyncio.sleep(at.random.uniform(*AWAY_S))
                    await asyncio.to_thread(postgres.start)

        return await _endure("crashes", at, jobs, crash_for_ever)


@asynccontextmanager
async def on_postgres(seed: int) -> AsyncIterator[tuple[Scene, PostgresServer]]:
    folder = Path(tempfile.mkdtemp(prefix="dw-long-"))
    with (
        PostgresServer(folder) as postgres,
        tempfile.TemporaryDirectory(prefix="dw-long-") as own,
        scene(Path(own), postgres.create_database(), seed) as at,
    ):
        yield at, postgres
    shutil.rmtree(folder, ignore_errors=True)


async def _endure(name: str, at: Scene, jobs: int, nemesis: Nemesis) -> Found:
    begun = time.monotonic()
    await at.employ(WORKERS)
    async with loading(at.stack, at.random) as load:
        async with asyncio.TaskGroup() as tasks:
            harming = tasks.create_task(nemesis(at))
            await _submit(load, jobs)
            await _all_ended(load)
            harming.cancel()
        await load.ended(60)
        seconds = time.monotonic() - begun
        at.figures.resumed = load.resumed
        evidence = await load.evidence(sample=SAMPLE)
    at.figures.read(evidence, at.kills, at.healed)
    return _found(name, at.figures, evidence, seconds)


async def _submit(load: Load, jobs: int) -> None:
    """Submit as services do that are told to slow down while too much waits."""
    numbers, told_at = iter(range(jobs)), time.monotonic()

    async def submitter() -> None:
        nonlocal told_at
        for number in numbers:
            while number % 50 == 0 and await _open(load) > BACKLOG:
                if time.monotonic() > told_at + TELL_S:
                    told_at = time.monotonic()
                    tell(f"  {number:,} of {jobs:,} jobs submitted")
                await asyncio.sleep(0.2)
            await load.submit(1, readers=int(number % READ_EACH == 0))

    await asyncio.gather(*(submitter() for _ in range(SUBMITTERS)))


async def _all_ended(load: Load) -> None:
    """Return when all jobs have ended, or when none has for long."""
    fewest, moved_at = len(load.expected) + 1, time.monotonic()
    while (found := await _open(load)) and time.monotonic() < moved_at + STUCK_S:
        if found < fewest:
            fewest, moved_at = found, time.monotonic()
        tell(f"  {found:,} jobs have not ended")
        await asyncio.sleep(TELL_S)


async def _open(load: Load) -> int:
    while True:
        with suppress(StoreAway, SQLAlchemyError, OSError):
            return await load.open()
        await asyncio.sleep(0.1)


def _found(name: str, figures: Figures, evidence: Evidence, seconds: float) -> Found:
    def count(*checks: Check) -> int:
        """Of how many jobs they find something amiss; each sentence begins with the job."""
        said = (sentence for check in checks for sentence in check(evidence))
        return len({sentence.split()[0].rstrip(":") for sentence in said})

    return Found(
        load=name,
        figures=figures,
        lost=count(checker.every_job_ends),
        twice=count(checker.every_job_ends_once),
        wrong=count(
            checker.saved_text_is_what_was_served, checker.every_reader_holds_what_is_saved
        ),
        violations=checker.violations(evidence),
        seconds=seconds,
    )
