"""The worker's own Celery pool: acknowledgement, termination, other tasks, what it refuses."""

import asyncio
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from celery import Celery

from tests.stack import ROOT, Reader, Stack
from tests.system.test_drain import streaming
from tests.upstreams import submitted
from tests.wire import until

LONG = "sim?tokens=100&rate=50"  # two seconds


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """None of this depends on the database."""
    return f"sqlite:///{tmp_path}/pool.db"


async def unacknowledged(reader: Reader, many: int) -> bool:
    return int(await reader.redis.hlen("unacked")) == many


async def test_a_message_is_acknowledged_when_its_job_has_ended_and_not_before(
    stack: Stack,
) -> None:
    stack.worker()
    async with stack.reader() as reader:
        ids = [await submitted(stack, reader, LONG) for _ in range(3)]
        await asyncio.gather(*(streaming(reader, id) for id in ids))
        assert await unacknowledged(reader, 3)
        await asyncio.gather(*(reader.events(id) for id in ids))
        await until(partial(unacknowledged, reader, 0))


async def test_what_celery_is_told_to_terminate_goes_back_to_its_queue_uncharged(
    stack: Stack,
) -> None:
    stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.3")
    with Celery("operator", broker=stack.env["DELTAWORKS_REDIS_URL"]) as operator:
        async with stack.reader() as reader:
            id = await submitted(stack, reader, LONG)
            await streaming(reader, id)
            (running,) = await asyncio.to_thread(active, operator)
            operator.control.revoke(running, terminate=True)
            _, _, job = await reader.end(id)
            first, last = await reader.store.jobs.attempts(id)

    assert (job.state, job.attempt, job.crashes, job.failures) == ("completed", 2, 0, 0)
    assert (first.error_code, last.error_code) == ("drained", None)


async def test_a_task_that_is_no_coroutine_is_run_as_well(stack: Stack) -> None:
    worker = stack.worker()
    with Celery("stranger", broker=stack.env["DELTAWORKS_REDIS_URL"]) as stranger:
        async with stack.reader() as reader:
            sent = stranger.send_task("celery.backend_cleanup", queue="interactive")
            await until(partial(unacknowledged, reader, 0))
            _, _, job = await reader.end(await submitted(stack, reader, "sim-fast?tokens=3"))

    assert job.state == "completed" and worker.popen.poll() is None
    assert f"celery.backend_cleanup[{sent.id}] succeeded" in worker.printed()


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (("-P", "threads"), "drop -P/--pool"),
        (("--time-limit", "60"), "drop --time-limit"),
        (("--soft-time-limit", "60"), "deadlines of their own"),
    ],
)
def test_what_the_pool_cannot_keep_is_refused_at_the_start(
    stack: Stack, options: tuple[str, str], remedy: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker.app", "worker", *options],
        env={**os.environ, **stack.env, "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 1 and remedy in run.stderr


def active(operator: Celery) -> list[str]:
    """The ids of the messages that are being worked on."""
    found = operator.control.inspect(timeout=5, limit=1).active() or {}
    return [each["id"] for tasks in found.values() for each in tasks]
