"""What publishing does, counted once for each write to Redis: a delta pays next to nothing."""

import time
from collections.abc import Iterator

from worker.metrics import names
from worker.metrics.registry import Durations, Sample, read, read_durations

LANES = ("interactive", "bulk")


class Published:
    """The counts of a process, which its one publisher adds to.

    Attributes:
        deltas: how many; the first number is interactive jobs', the second bulk jobs'.
        seconds: how long writes took.
    """

    __slots__ = ("deltas", "seconds")

    def __init__(self) -> None:
        self.deltas = [0, 0]
        self.seconds = Durations(names.PUBLISH_SECONDS.bounds)

    def took(self, since: float) -> None:
        """A write is done whose first delta was read at that moment of the monotonic clock."""
        self.seconds.add(time.monotonic() - since)

    def by_lane(self) -> Iterator[Sample]:
        """Deltas, by lane."""
        return (((lane,), deltas) for lane, deltas in zip(LANES, self.deltas, strict=True))


PUBLISHED = Published()
read(names.DELTAS, PUBLISHED.by_lane)
read_durations(names.PUBLISH_SECONDS, PUBLISHED.seconds)
