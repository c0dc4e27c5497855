"""Workers that die, freeze, hang or are told to end: no job is lost, repeated or spliced."""

import asyncio
import signal
import time
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from tests.faults.clock import shifting_clock
from tests.faults.evidence import ending
from tests.faults.scene import LEASE_S, WORKER, Scene
from tests.stack import Process
from tests.wire import until

LONG = "sim?tokens=150&rate=50&vary=1"
# A worker whose loop sleeps on SIGUSR2.
BLOCKABLE = ("-m", "tests.faults.blockable_worker", *WORKER[2:])


async def test_workers_that_are_killed_again_and_again_lose_no_job(on_postgres: Scene) -> None:
    scene = on_postgres
    await scene.employ(2)
    async with scene.load() as load:
        for _ in range(6):
            await load.submit(10)
            await asyncio.sleep(scene.random.uniform(0.3, 0.9))
            await scene.kill()
        scene.let_time_pass(60)

    assert scene.figures.kills == 6 and scene.figures.rescued > 0


async def test_a_frozen_worker_that_comes_back_changes_nothing(on_sqlite: Scene) -> None:
    scene = on_sqlite
    await scene.employ(2)
    zombie = scene.workers[0]
    async with scene.load() as load:
        await load.submit(16, LONG)
        await load.running(16)
        with scene.injury():
            zombie.send(signal.SIGSTOP)
            await asyncio.sleep(2.5 * LEASE_S)
            zombie.send(signal.SIGCONT)

    assert scene.figures.rescued > 0 and scene.figures.fenced > 0


async def test_a_worker_that_is_told_to_end_hands_its_jobs_over(on_sqlite: Scene) -> None:
    scene = on_sqlite
    grace_s = 1.0
    await scene.employ(1, DELTAWORKS_GRACE_S=str(grace_s))
    (leaving,) = scene.workers
    async with scene.load() as load:
        await load.submit(8)
        long = await load.submit(8, LONG, ending("completed", requests=2))
        await asyncio.gather(*(until(partial(load.has_said, id, 1)) for id in long))
        since = time.monotonic()
        scene.dismiss(leaving)
        await asyncio.gather(scene.gone(leaving, since, grace_s), scene.employ(1))

    # Nobody is charged with it, and nothing waits for a lease to expire.
    assert all(job.crashes == 0 for job in scene.evidence.jobs.values())
    assert scene.figures.rescued == 0


async def test_a_worker_that_is_killed_while_it_ends_loses_no_job(on_sqlite: Scene) -> None:
    scene = on_sqlite
    await scene.employ(2)
    async with scene.load() as load:
        await load.submit(20, LONG)
        await load.running(20)
        ended = scene.workers[0]
        scene.dismiss(ended)
        await asyncio.sleep(scene.random.uniform(0.1, 1.0))
        scene.kills.append(time.time())
        scene.figures.kills += 1
        ended.kill()


async def test_a_job_that_kills_its_workers_is_given_up_and_harms_nobody_else(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    await scene.employ(1)
    async with scene.load() as load:
        (poison,) = await load.submit(
            1, "sim?tokens=1000&rate=50&vary=1", ending("failed", category="poison", requests=3)
        )
        await load.submit(6)
        for attempt in (1, 3, 5):
            await until(partial(load.has_said, poison, attempt))
            if attempt > 1:
                await load.open_at_most(1)  # the first death alone is shared
            await scene.kill()
            await asyncio.to_thread(scene.workers[0].await_print, "ready: ")


async def test_a_worker_whose_loop_was_blocked_finds_out_that_it_lost_its_jobs(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    blocked = scene.stack.start("worker", *BLOCKABLE)
    scene.workers.append(blocked)
    blocked.await_print("ready: ")
    async with scene.load() as load:
        await load.submit(8, LONG)
        await load.running(8)
        await scene.employ(1)
        with scene.injury():
            blocked.send(signal.SIGUSR2)
            await asyncio.to_thread(blocked.await_print, "the event loop was blocked")
        await load.submit(4)

    assert scene.figures.rescued > 0


async def test_workers_whose_clocks_are_minutes_off_keep_and_lose_leases_as_others_do(
    on_postgres: Scene, tmp_path: Path
) -> None:
    scene = on_postgres
    skewed = shifting_clock(tmp_path)
    await scene.employ(1, LD_PRELOAD=skewed, CLOCK_SHIFT_S="300")
    await scene.employ(1, LD_PRELOAD=skewed, CLOCK_SHIFT_S="-300")
    async with scene.load() as load:
        await load.submit(10, LONG)
        await load.running(10)
        await scene.kill(scene.workers[1], LD_PRELOAD=skewed, CLOCK_SHIFT_S="-300")
        await load.submit(10)

    assert scene.figures.rescued > 0
    # The shift is real: their logs are minutes apart.
    ahead, behind = map(logged_at, scene.workers)
    assert ahead - behind > timedelta(minutes=9)


def logged_at(worker: Process) -> datetime:
    """By the worker's own clock, when it began."""
    return datetime.fromisoformat(worker.printed()[:19])
