"""The registry of a process: counts as they come, and gauges that are read at each scrape."""

import platform
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from worker import __version__
from worker.metrics import names
from worker.metrics.names import Metric

# Values of labels, in their order, and the value.
Sample = tuple[Sequence[str], float]
# Called by the thread that answers a scrape: looks, and changes nothing. None is no sample.
Reading = Callable[[], Iterable[Sample] | float | None]


class Durations:
    """A histogram for one thread: a fifth of what the library's, with its locks, costs."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def cumulative(self) -> list[tuple[str, float]]:
        """Its buckets as Prometheus has them: each holds those before it."""
        bounds, so_far = [*map(str, self.bounds), "+Inf"], 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip(bounds, list(self.counts), strict=True):
            so_far += count
            buckets.append((bound, so_far))
        return buckets


class Readings(Collector):
    """What is looked up when it is asked for: it costs nothing in between."""

    def __init__(self) -> None:
        self._readings: dict[Metric, Reading] = {}
        self._durations: dict[Metric, Durations] = {}

    def read(self, metric: Metric, reading: Reading) -> None:
        """Have a gauge, or a counter that somebody else keeps, read in this way from now on."""
        self._readings[metric] = reading

    def read_durations(self, metric: Metric, durations: Durations) -> None:
        """Have a histogram read from there."""
        self._durations[metric] = durations

    def collect(self) -> Iterator[Family]:
        """What there is to be read now."""
        for metric, reading in list(self._readings.items()):
            found = reading()
            if found is not None:
                yield _family(metric, [((), found)] if isinstance(found, float | int) else found)
        for metric, durations in self._durations.items():
            buckets = durations.cumulative()
            yield HistogramMetricFamily(
                metric.name, metric.help, buckets=buckets, sum_value=durations.total
            )


def _family(metric: Metric, samples: Iterable[Sample]) -> Family:
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    family = kind(metric.name, metric.help, labels=metric.labels)
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


# A second series for each, of the moment of its first event: nobody asks for it.
disable_created_metrics()  # type: ignore[no-untyped-call]
REGISTRY = CollectorRegistry()
_readings = Readings()
read, read_durations = _readings.read, _readings.read_durations


def _made(metric: Metric) -> Counter | Summary | Histogram:
    made: Counter | Summary | Histogram
    if metric.kind == "counter":
        made = Counter(metric.name, metric.help, metric.labels, registry=REGISTRY)
    elif metric.kind == "summary":
        made = Summary(metric.name, metric.help, metric.labels, registry=REGISTRY)
    else:
        made = Histogram(
            metric.name, metric.help, metric.labels, registry=REGISTRY, buckets=metric.bounds
        )
    for values in metric.known:
        made.labels(*values)
    return made


# Kept by those who count them, and read there.
_KEPT_ELSEWHERE = (names.SPOOL, names.DELTAS, names.PUBLISH_SECONDS)
_counted = [each for each in names.ALL if each.kind != "gauge" and each not in _KEPT_ELSEWHERE]
_MADE = {each.name: _made(each) for each in _counted}
REGISTRY.register(_readings)
ProcessCollector(registry=REGISTRY)
read(names.BUILD, lambda: [((__version__, platform.python_version()), 1)])


def count(metric: Metric, *labels: str, by: float = 1) -> None:
    """Add to a counter."""
    made = _MADE[metric.name]
    assert isinstance(made, Counter)
    (made.labels(*labels) if labels else made).inc(by)


def observe(metric: Metric, value: float, *labels: str) -> None:
    """Add to a histogram or summary."""
    made = _MADE[metric.name]
    assert isinstance(made, Histogram | Summary)
    (made.labels(*labels) if labels else made).observe(value)
