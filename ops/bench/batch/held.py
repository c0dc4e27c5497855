"""Files to held rows, and how dear a dispatch is beside so many of them."""

import statistics

import msgspec

from ops.bench.batch.reading import Read
from ops.bench.batch.releasing import Turns
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import Scene

# Rows of one dispatch: as many as a worker of the usual size leaves to batches. And how often.
RELEASED, TIMES = 450, 12


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one measurement found.

    Attributes:
        read: of the file.
        ms: of a dispatch, the median; the lowest and the highest in `lowest_ms`, `highest_ms`.
        cpu_ms: of a dispatch, of process and database server together.
    """

    database: str
    held: int
    read: Read
    ms: float
    lowest_ms: float
    highest_ms: float
    cpu_ms: float

    @property
    def rows_per_s(self) -> float:
        """Read in."""
        return self.read.rows / self.read.seconds

    @property
    def cpu_us(self) -> float:
        """Of a row that is read in, the database's part included."""
        return (self.read.cpu_s + self.read.database_s) / self.read.rows * 1e6


def measure(database: str, held: int) -> Result:
    """Read in so many rows, and dispatch some of them."""
    with Scene(database) as scene:
        file, pid = scene.rows(held, [EMPTY]), scene.database_pid
        read = msgspec.json.decode(scene.printed_by("batch.reading", file, pid), type=Read)
        # Of few rows only so many dispatches are about as many held ones.
        times = max(2, min(TIMES, held // RELEASED // 2))
        rows = min(RELEASED, held // (2 * times))
        words = read.batch, rows, times, pid
        turns = msgspec.json.decode(scene.printed_by("batch.releasing", *words), type=Turns)
    return Result(
        database=database,
        held=held,
        read=read,
        ms=round(statistics.median(turns.ms), 2),
        lowest_ms=min(turns.ms),
        highest_ms=max(turns.ms),
        cpu_ms=round(statistics.median(turns.process_ms) + turns.database_ms, 2),
    )
