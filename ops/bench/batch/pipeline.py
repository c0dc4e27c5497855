"""A batch from its creation to its files of results: pace, CPU of each process, memory."""

import time

import msgspec

from models import Batch
from ops.bench.costs import parts
from ops.bench.costs.counted import Counts
from ops.bench.costs.groups import Groups
from ops.bench.costs.meters import Watch
from ops.bench.costs.parts import Parts
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import Scene
from worker.channel.log import log_key
from worker.store import Tally

# How long the rows may take: far too long for any that is worth its name.
LEAST_ROWS_PER_S, PATIENCE_S = 20, 60.0
# Of its processes the simulator is the world outside; what it uses is told, and not counted.
OUTSIDE = "simulator"


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        right: rows that are completed.
        reading_s, running_s, writing_s: from its creation to its begin, from there to the end of
            its last row, and from there to its own end.
        cpu_us: of each process, a row, over all that time.
        parts: what a row's parts cost by themselves.
        counts: how the rows went together.
        memory_mb: the most of each process.
        waited: share of the time in which the worker was ready to run and others had the cores.
        redis_kb: the most memory that Redis used, less what it used before.
        keys: in Redis, once the logs' life is over, less those there were before.
    """

    database: str
    rows: int
    right: int
    reading_s: float
    running_s: float
    writing_s: float
    cpu_us: dict[str, float]
    parts: Parts
    counts: Counts
    memory_mb: dict[str, float]
    waited: float
    redis_kb: float
    keys: int

    @property
    def seconds(self) -> float:
        """From the batch's creation to its end."""
        return self.reading_s + self.running_s + self.writing_s

    @property
    def rows_per_s(self) -> float:
        """Through all of it."""
        return self.rows / self.seconds

    @property
    def row_us(self) -> float:
        """CPU of all processes a row, the simulator's aside."""
        return sum(us for name, us in self.cpu_us.items() if name != OUTSIDE)

    @property
    def factor(self) -> float:
        """How many times the sum of its parts that is."""
        return self.row_us / self.parts.sum


def measure(database: str, rows: int, log_life_s: float) -> Result:
    """Run a batch of so many rows; its parts are measured while the life of its logs passes."""
    with Scene(database) as scene:
        scene.environment["DELTAWORKS_BULK_LOG_TTL_S"] = str(log_life_s)
        worker, file = scene.work(), scene.rows(rows, [EMPTY])
        _forget_logs(scene)
        keys, memory = int(scene.redis.dbsize()), _used_kb(scene)
        meters, counts = list(scene.meters.values()), scene.counts()
        before_s, waited_s = [meter.cpu_s() for meter in meters], worker.waited_s()
        with Watch(meters, lambda: _used_kb(scene)) as watch:
            id = scene.batch(file)
            batch = scene.await_end(id, PATIENCE_S + rows / LEAST_ROWS_PER_S)
            used_s = [meter.cpu_s() - then for meter, then in zip(meters, before_s, strict=True)]
        ended_at, waited_s = time.monotonic(), worker.waited_s() - waited_s
        counts = scene.counts().since(counts)
        phases = _phases(batch)
        found = parts.of_rows(scene, Groups.of_rows(counts), rows / sum(phases))
        time.sleep(max(0.0, ended_at + log_life_s + 2 - time.monotonic()))
        left = int(scene.redis.dbsize()) - keys
    reading_s, running_s, writing_s = phases
    return Result(
        database=database,
        rows=rows,
        right=Tally.of(batch.tally).completed,
        reading_s=reading_s,
        running_s=running_s,
        writing_s=writing_s,
        cpu_us={
            meter.name: round(cpu_s / rows * 1e6, 1)
            for meter, cpu_s in zip(meters, used_s, strict=True)
        },
        parts=found,
        counts=counts,
        memory_mb={name: round(mb, 1) for name, mb in watch.peaks_mb.items()},
        waited=round(waited_s / sum(phases), 3),
        redis_kb=round(watch.highest - memory, 1),
        keys=left,
    )


def _phases(batch: Batch) -> tuple[float, float, float]:
    begun, spent, ended = batch.in_progress_at, batch.finalizing_at, batch.completed_at
    if begun is None or spent is None or ended is None:
        raise RuntimeError(f"the batch is {batch.status}: {batch.errors}")
    steps = begun - batch.created_at, spent - begun, ended - spent
    reading, running, writing = (round(step.total_seconds(), 3) for step in steps)
    return reading, running, writing


def _forget_logs(scene: Scene) -> None:
    """Remove the logs of the rows that warmed the worker up, whose life would take its time."""
    for key in scene.redis.scan_iter(match=log_key("*")):
        scene.redis.delete(key)


def _used_kb(scene: Scene) -> float:
    return int(scene.redis.info("memory")["used_memory"]) / 1000
