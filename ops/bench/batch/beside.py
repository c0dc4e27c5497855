"""How soon interactive jobs start, alone and beside a batch that wants all the slots there are."""

import statistics
import time

import msgspec
from sqlalchemy import func, select

from models import Job
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import Scene

# An answer in so many seconds: of such rows all slots are taken, and the cores have time.
SLOW = "sim?tokens=1&rate=0&ttft=2"
PAUSE_S = 0.2
# From the batch's creation until it runs at its full pace.
SATURATING_S = 4.0
# Rows for a second: more than any machine here can run.
MOST_ROWS_PER_S = 800


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found, in milliseconds from submit to the `started` event.

    Attributes:
        beside: what kind of rows ran meanwhile.
        alone_ms, beside_ms: of each job without the batch, and with it.
        rows_per_s: of the batch that ended meanwhile.
    """

    database: str
    beside: str
    alone_ms: list[float]
    beside_ms: list[float]
    rows_per_s: float

    @property
    def alone(self) -> float:
        """The median."""
        return statistics.median(self.alone_ms)

    @property
    def together(self) -> float:
        """The median beside the batch."""
        return statistics.median(self.beside_ms)

    @property
    def difference(self) -> float:
        """How much later they start beside the batch."""
        return self.together - self.alone


def measure(database: str, name: str, model: str, jobs: int) -> Result:
    """Interactive jobs, one after the other, before a batch of the model's rows and beside it."""
    with Scene(database) as scene:
        scene.work()
        words = jobs, EMPTY, PAUSE_S
        alone = msgspec.json.decode(scene.printed_by("batch.starts", *words), type=list[float])
        # Twice what the jobs take where they start at once, and their process's own start.
        seconds = SATURATING_S + 2 * jobs * PAUSE_S + 10
        scene.batch(scene.rows(round(seconds * MOST_ROWS_PER_S), [model]))
        time.sleep(SATURATING_S)
        before, begun = _ended(scene), time.monotonic()
        beside = msgspec.json.decode(scene.printed_by("batch.starts", *words), type=list[float])
        ended, took_s = _ended(scene) - before, time.monotonic() - begun
    if not ended:
        raise RuntimeError("no row of the batch ran beside the jobs")
    return Result(
        database=database,
        beside=name,
        alone_ms=alone,
        beside_ms=beside,
        rows_per_s=round(ended / took_s, 1),
    )


def _ended(scene: Scene) -> int:
    """How many rows of batches have ended."""
    done = Job.batch_id.is_not(None), Job.finished_at.is_not(None)
    with scene.session() as session:
        return session.scalar(select(func.count()).select_from(Job).where(*done)) or 0
