"""Receivers that do not answer, so that others need not wait for them.

A silent receiver costs each delivery its whole timeout, and a batch may have a hundred thousand
for it. Of one that was silent several times in a row it is assumed for a while that it still is.
"""

import time
from collections.abc import Callable

import httpx

# Silences in a row, and how long they count; seconds.
SILENT_AT, SILENT_S = 3, 30.0
# Above so many remembered receivers those that do not count any more are forgotten.
MOST_REMEMBERED = 1_000


class Silence:
    """Remembers silent receivers, by scheme, host and port. `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._silent: dict[str, tuple[int, float]] = {}

    def lasts(self, url: str) -> bool:
        """Whether the receiver has been silent so often, and so recently, that it need not be
        asked.
        """
        times, at = self._silent.get(_receiver(url), (0, 0.0))
        return times >= SILENT_AT and self._now() < at + SILENT_S

    def begins(self, url: str) -> None:
        """The receiver could not be reached, or did not answer."""
        if len(self._silent) >= MOST_REMEMBERED:
            since = self._now() - SILENT_S
            self._silent = {name: one for name, one in self._silent.items() if one[1] > since}
        times, _ = self._silent.get(_receiver(url), (0, 0.0))
        self._silent[_receiver(url)] = times + 1, self._now()

    def ends(self, url: str) -> None:
        """The receiver has answered, whatever it said."""
        self._silent.pop(_receiver(url), None)


def _receiver(url: str) -> str:
    parsed = httpx.URL(url)
    return f"{parsed.scheme}://{parsed.netloc.decode('ascii')}"
