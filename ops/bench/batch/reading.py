"""`python -m ops.bench.batch.reading FILE DATABASE_PID`: read a batch in, as a worker does.

Takes the settings of the environment; prints a `Read` as JSON. The rows stay held.
"""

import resource
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import uvloop

from models import Batch
from ops.bench.costs.meters import Meter
from ops.bench.costs.scene import put
from worker import endpoints, settings
from worker.batch.reading import Reading
from worker.batch.request import BATCH, CHAT
from worker.files import storage_of
from worker.ids import new_id
from worker.runtime import settle_garbage
from worker.store import Store, connect
from worker.submission import TENANT


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """What reading one file took.

    Attributes:
        batch: its id.
        rows: that were valid, and are held.
        seconds: from the file's opening until the batch has begun.
        cpu_s, database_s: CPU time of the process, and of the database server if there is one.
        before_mb, peak_mb: resident memory before that, and the most of it.
    """

    batch: str
    rows: int
    seconds: float
    cpu_s: float
    database_s: float
    before_mb: float
    peak_mb: float


async def read(file: Path, database_pid: int) -> Read:
    """Keep the file, make a batch of it, and read that in."""
    chosen = settings.load()
    server = Meter("database", database_pid) if database_pid else None
    store = Store(connect(endpoints.resolve().database_url), "reader")
    settle_garbage()
    try:
        batch = await _taken(store, chosen.home, file)
        reading = Reading(store.intake, storage_of(chosen), endpoints.known_upstreams(), chosen)
        before_mb, server_s = _peak_mb(), server.cpu_s() if server else 0.0
        begun, begun_s = time.monotonic(), time.process_time()
        await reading.run(batch)
        took_s, used_s = time.monotonic() - begun, time.process_time() - begun_s
        served_s = server.cpu_s() - server_s if server else 0.0
        found = await store.batches.get(batch.id)
    finally:
        await store.aclose()
    if found.status != "in_progress":
        raise RuntimeError(f"the batch is {found.status}: {found.errors}")
    return Read(
        batch=batch.id,
        rows=found.total,
        seconds=round(took_s, 3),
        cpu_s=round(used_s, 3),
        database_s=round(served_s, 3),
        before_mb=round(before_mb, 1),
        peak_mb=round(_peak_mb(), 1),
    )


async def _taken(store: Store, home: Path, file: Path) -> Batch:
    """A new batch of the file, taken to be read in."""
    accepted = Batch(
        id=new_id(BATCH),
        tenant=TENANT,
        endpoint=CHAT,
        input_file_id=await put(store, home, file),
        completion_window="24h",
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    await store.batches.add(accepted)
    taken = await store.intake.take(settings.load().lease_s)
    assert taken is not None and taken.id == accepted.id
    return taken


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    found = uvloop.run(read(Path(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.buffer.write(msgspec.json.encode(found))
