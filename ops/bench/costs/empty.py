"""The messages of jobs without jobs.

    celery -A ops.bench.costs.empty worker                 takes them, and does nothing
    python -m ops.bench.costs.empty COUNT CARRIED PER_S    sends so many

Each is a wake-up of one interactive job, or with CARRIED above 0 of so many rows. Prints a
`Sent` as JSON. The messages are the worker's own, and so are pool, queues and delivery; the tasks
are empty.
"""

import asyncio
import sys
import time

import msgspec
from celery import Celery

from models import Lane
from ops.bench.costs.pace import Pace
from worker import app as deltaworks
from worker.ids import new_id
from worker.pool import Awaited


class Sent(msgspec.Struct, frozen=True):
    """When the first message was sent, in seconds since the epoch, and the microseconds of each."""

    begun_at: float
    us: float


app = Celery("empty", set_as_current=False)
app.add_defaults(deltaworks._defaults)


@app.task(name=deltaworks.RUN_JOB, base=Awaited)
async def run_job(id: str) -> None:
    """Do not run it."""


@app.task(name=deltaworks.RUN_ROWS, base=Awaited)
async def run_rows(ids: list[str]) -> None:
    """Run none of them."""


async def send(count: int, carried: int, per_s: float) -> Sent:
    """Send them, after one for practice; what the broker did not take in time, once more.

    So many a second; with 0 one after the other.
    """
    ids = [new_id("job_") for _ in range(max(carried, 1))]

    async def wake() -> None:
        taken = False
        while not taken:
            if carried:
                taken = await deltaworks.wake_rows(ids)
            else:
                taken = await deltaworks.wake(ids[0], Lane.INTERACTIVE)

    await wake()
    begun_at, begun_s, pace = time.time(), time.process_time(), Pace(per_s)
    for number in range(count):
        await pace.reach(number)
        await wake()
    return Sent(begun_at, (time.process_time() - begun_s) / count * 1e6)


if __name__ == "__main__":
    sent = asyncio.run(send(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(sent))
