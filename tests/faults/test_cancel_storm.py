"""Streams that are cancelled by the hundred, in every phase: the process is as it was before."""

import asyncio
import os

import psutil

from tests.faults.evidence import ending
from tests.faults.scene import Scene
from tests.stack import Process
from tests.wire import until

STREAMS = 100
# Each cancels as many streams as the worker carries.
WAVES = int(os.environ.get("DELTAWORKS_FAULTS_WAVES") or 5)
# How a stream is when it is cancelled: not connected, before its head, before and amid its text.
PHASES = (
    "sim?tokens=10000&rate=20",
    "sim?tokens=10000&rate=20&ttft=9",
    "sim?fault=stall-headers",
    "sim?fault=stall-mid&at=3&rate=50",
    "sim?tokens=10000&rate=300&ttft=0",
)
CANCELLED = ending("cancelled")


async def test_hundreds_of_cancelled_streams_leave_nothing_behind(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    (worker,) = scene.workers
    async with scene.load() as load:
        # As many at once as ever will be: what is kept for the next time is there then.
        await load.submit(STREAMS, "sim?tokens=30&rate=30", ending("completed", requests=1))
        await load.open_at_most(0)
        before = resources(worker)
        for _ in range(WAVES):
            ids = await asyncio.gather(
                *(load.submit(1, scene.random.choice(PHASES), CANCELLED) for _ in range(STREAMS))
            )
            await asyncio.sleep(scene.random.uniform(0, 0.3))
            scene.random.shuffle(ids)
            await asyncio.gather(*(scene.stack.cancel(load.reader, id) for (id,) in ids))
        await until(lambda: resources(worker) <= before)
        await load.submit(20, expected=ending("completed", requests=1))

    # The upstream saw every connection close, and writes for nobody.
    assert all(served["end"] for served in scene.evidence.served)


def resources(worker: Process) -> tuple[int, int]:
    """Its open files and sockets, and its threads."""
    process = psutil.Process(worker.pid)
    return process.num_fds(), process.num_threads()
