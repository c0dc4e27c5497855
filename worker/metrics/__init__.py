"""What a process tells Prometheus: all names in `names`, and where things are counted.

Counting costs about a microsecond and is done for each job, attempt or write, never for each
delta. Gauges are read when Prometheus asks. Everybody who counts calls a function of this room;
nobody else knows the library.
"""

from worker.metrics import limiting, names
from worker.metrics.bounds import BOUNDS
from worker.metrics.publishing import PUBLISHED
from worker.metrics.registry import Sample, count, read
from worker.metrics.serving import serving

__all__ = [
    "BOUNDS",
    "PUBLISHED",
    "Sample",
    "count",
    "limiting",
    "names",
    "read",
    "serving",
]
