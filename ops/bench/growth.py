"""How a cost grows with the load: the exponent."""

import math
import statistics
from collections.abc import Iterable


def exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of a line through (load, cost) on logarithmic axes, by least squares.

    0 is a cost that does not depend on the load, 1 one that is proportional to it; ten times the
    load is ten to that power times the cost. None where there are not two different loads.
    """
    logarithms = [(math.log(load), math.log(cost)) for load, cost in points if cost > 0]
    if len({load for load, _ in logarithms}) < 2:
        return None
    slope, _ = statistics.linear_regression(*zip(*logarithms, strict=True))
    return round(slope, 3)
