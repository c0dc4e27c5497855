"""`python -m ops.bench.batch.releasing BATCH ROWS TIMES DATABASE_PID`: dispatch some rows.

So many at a time, so often, in the database of the environment; prints a `Turns` as JSON. What was
released is ended after each time, uncounted, as it would be before slots are free again.
"""

import sys
import time

import msgspec
import uvloop

from models import Job, JobState
from ops.bench.costs.meters import Meter
from tests.batches import end_at_once
from worker import endpoints
from worker.store import Store, Wanted, connect


class Turns(msgspec.Struct, frozen=True, kw_only=True):
    """How long each dispatch took, and what it used of the CPU, in milliseconds.

    Attributes:
        process_ms: of the process, each time; in SQLite it is the database as well.
        database_ms: of the database server, on average: its clock is a coarse one.
    """

    ms: list[float]
    process_ms: list[float]
    database_ms: float


async def release(batch_id: str, rows: int, times: int, database_pid: int) -> Turns:
    """Dispatch so often."""
    server = Meter("database", database_pid) if database_pid else None
    store = Store(connect(endpoints.resolve().database_url), "dispatcher")
    took, used, served_s = list[float](), list[float](), 0.0
    try:
        batch = await store.batches.get(batch_id)
        for number in range(times + 1):
            server_s = server.cpu_s() if server else 0.0
            begun, begun_s = time.perf_counter(), time.process_time()
            released = await store.dispatching.release(lambda *_: Wanted({batch.id: rows}))
            took_s, used_s = time.perf_counter() - begun, time.process_time() - begun_s
            assert released is not None and len(released.ids[batch.id]) == rows
            if number > 0:  # the first one compiles statements and opens connections
                took.append(round(took_s * 1000, 3))
                used.append(round(used_s * 1000, 3))
                served_s += server.cpu_s() - server_s if server else 0.0
            await end_at_once(store, batch, JobState.COMPLETED, ~Job.held)
    finally:
        await store.aclose()
    return Turns(ms=took, process_ms=used, database_ms=round(served_s / times * 1000, 3))


if __name__ == "__main__":
    found = uvloop.run(release(sys.argv[1], *map(int, sys.argv[2:5])))
    sys.stdout.buffer.write(msgspec.json.encode(found))
