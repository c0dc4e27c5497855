"""What publishing does, counted once for each write to Redis: a delta pays next to nothing."""

from collections.abc import Iterator

from worker.metrics import names
from worker.metrics.registry import Durations, Sample, read, read_durations


class Published:
    """The counts of a process, which its one publisher adds to.

    Attributes:
        interactive, bulk: deltas of each lane.
        seconds: how long it took, from the first delta of a write, as read, to Redis' answer.
    """

    __slots__ = ("bulk", "interactive", "seconds")

    def __init__(self) -> None:
        self.interactive = self.bulk = 0
        self.seconds = Durations(names.PUBLISH_SECONDS.bounds)

    def by_lane(self) -> Iterator[Sample]:
        """Deltas, by lane."""
        yield ("interactive",), self.interactive
        yield ("bulk",), self.bulk


PUBLISHED = Published()
read(names.DELTAS, PUBLISHED.by_lane)
read_durations(names.PUBLISH_SECONDS, PUBLISHED.seconds)
