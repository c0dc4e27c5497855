"""Where an axis has its ticks, and which buckets of a histogram are worth a bar."""

import math
from collections.abc import Sequence

from msgspec import Struct

_SECONDS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
_HOURS = (3600, 7200, 10800, 21600, 43200, 86400)


class Bucket(Struct, frozen=True):
    """How many rows took longer than `above` and at most `upto` seconds."""

    above: float
    upto: float
    count: int


def count_ticks(highest: int) -> list[int]:
    """Whole numbers from 0 in equal steps of 1, 2 or 5; the last is not below the highest."""
    step = max(1, math.ceil(_step_of_ten(highest / 4)))
    return [step * place for place in range(max(math.ceil(highest / step), 1) + 1)]


def time_ticks(extent: float) -> list[float]:
    """At most six times within `extent` seconds, from 0, in steps a clock has."""
    wanted = extent / 5
    step = next((step for step in _SECONDS + _HOURS if step >= wanted), None)
    if step is None:
        step = 86400 * math.ceil(_step_of_ten(wanted / 86400))
    exact = _step_of_ten(wanted) if wanted < 0.5 else step
    # A hair more than the extent: 3 x 0.1 is above 0.3.
    return [exact * place for place in range(int(extent / exact * (1 + 1e-9)) + 1)]


def _step_of_ten(least: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below."""
    if least <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def buckets(histogram: Sequence[tuple[float, int]]) -> list[Bucket]:
    """The histogram's buckets from the first to the last that has rows."""
    bounds = [0.0, *(upto for upto, _ in histogram)]
    every = [Bucket(above, *pair) for above, pair in zip(bounds, histogram, strict=False)]
    filled = [place for place, bucket in enumerate(every) if bucket.count]
    return every[filled[0] : filled[-1] + 1] if filled else []
