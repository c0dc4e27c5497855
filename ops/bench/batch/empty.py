"""The messages of rows without rows.

    celery -A ops.bench.batch.empty worker           takes them, and does nothing
    python -m ops.bench.batch.empty COUNT CARRIED    sends so many, each of so many ids, and prints
                                                     the microseconds of CPU of each

The messages are the worker's own, and so are pool, queues and delivery; the task is empty.
"""

import asyncio
import sys
import time

from celery import Celery

from worker import app as deltaworks
from worker.ids import new_id

app = Celery("empty", set_as_current=False)
app.add_defaults(deltaworks._defaults)


@app.task(name=deltaworks.RUN_ROWS)
def run_rows(ids: list[str]) -> None:
    """Run none of them."""


async def send(count: int, carried: int) -> float:
    """The microseconds of each."""
    ids = [new_id("job_") for _ in range(carried)]
    assert await deltaworks.wake_rows(ids)
    begun_s = time.process_time()
    for _ in range(count):
        assert await deltaworks.wake_rows(ids)
    return (time.process_time() - begun_s) / count * 1e6


if __name__ == "__main__":
    us = asyncio.run(send(int(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.write(f"{us}\n")
