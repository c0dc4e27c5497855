"""CPU time and memory of processes, children that have ended included."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import psutil

# Between two looks at memory.
LOOK_S = 0.25


class Meter:
    """One process with those it has started, living or not."""

    def __init__(self, name: str, pid: int) -> None:
        self.name = name
        self._process = psutil.Process(pid)

    def cpu_s(self) -> float:
        """User and system time so far; of children that have ended as soon as they are reaped."""
        times = self._process.cpu_times()
        used = times.user + times.system + times.children_user + times.children_system
        for child in self._process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                own = child.cpu_times()
                used += own.user + own.system
        return float(used)

    def memory_mb(self) -> float:
        """Resident memory of the largest of them."""
        largest = 0
        for process in [self._process, *self._process.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                largest = max(largest, process.memory_info().rss)
        return largest / 1e6


class Watch:
    """Looks, in a thread of its own, at the memory of processes, and at whatever else is given.

    Attributes:
        peaks_mb: the most resident memory seen of each, by name.
        highest: the highest of the other numbers.
    """

    def __init__(self, meters: Sequence[Meter], other: Callable[[], float]) -> None:
        self.peaks_mb: dict[str, float] = {}
        self.highest = 0.0
        self._meters = meters
        self._other = other
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_S):
            self.highest = max(self.highest, self._other())
            for meter in self._meters:
                with suppress(psutil.NoSuchProcess):
                    before = self.peaks_mb.get(meter.name, 0.0)
                    self.peaks_mb[meter.name] = max(before, meter.memory_mb())
