"""How delays are spread."""

import statistics
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True):
    """A distribution of `count` delays, in milliseconds."""

    count: int
    median_ms: float
    p90_ms: float
    p99_ms: float

    @classmethod
    def of(cls, delays_ns: Sequence[int]) -> "Spread":
        """The distribution of so many nanoseconds each.

        Raises:
            RuntimeError: there are not even two of them.
        """
        if len(delays_ns) < 2:
            raise RuntimeError("nothing arrived in the window; a busy machine opens too slowly")
        hundredths = statistics.quantiles(delays_ns, n=100)
        return cls(len(delays_ns), *(round(hundredths[at] / 1e6, 3) for at in (49, 89, 98)))
