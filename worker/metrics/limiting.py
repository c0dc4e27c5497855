"""What the limiter answered, and the cool-downs that this process met by it."""

import time
from collections.abc import Iterator
from typing import Protocol

from worker.metrics import names
from worker.metrics.bounds import BOUNDS
from worker.metrics.registry import Sample, count, read
from worker.metrics.transitions import waited

GRANTED, PACE, COOLING = "granted", "pace", "cooling"

# By upstream: until when it is left alone, of the monotonic clock.
_cooling: dict[str, float] = {}


class Scope(Protocol):
    """The account that a permit is for (see `worker.limiter`)."""

    @property
    def base_url(self) -> str:
        """The upstream's address."""


class Permit(Protocol):
    """What was asked for (see `worker.limiter`)."""

    @property
    def scope(self) -> Scope:
        """Of whom."""

    @property
    def bulk(self) -> bool:
        """Whether nobody watches."""


def asked(permit: Permit, reason: str | None, wait_s: float) -> None:
    """The limiter has answered: granted, or, where there is a `reason`, not for so long."""
    upstream = upstream_of(permit)
    count(names.LIMITER_ANSWERS, upstream, lane_of(permit), reason or GRANTED)
    if reason == COOLING:
        now = time.monotonic()
        if now >= _cooling.get(upstream, 0.0):
            count(names.COOL_DOWNS, upstream)
        _cooling[upstream] = max(_cooling.get(upstream, 0.0), now + wait_s)


def admitted(permit: Permit, reason: str, wait_s: float) -> None:
    """A request may go, after so long a wait; `reason` is the last one that it waited for."""
    waited(lane_of(permit), reason, wait_s)


def sent_away(permit: Permit, reason: str, wait_s: float) -> None:
    """A request may not go, after so long a wait."""
    count(names.LIMITER_DEFERRALS, upstream_of(permit), lane_of(permit), reason)
    waited(lane_of(permit), reason, wait_s)


def labels_of(permit: Permit) -> tuple[str, str]:
    """The upstream's name, and the lane."""
    return upstream_of(permit), lane_of(permit)


def lane_of(permit: Permit) -> str:
    """The lane as permits know it."""
    return "bulk" if permit.bulk else "interactive"


def upstream_of(permit: Permit) -> str:
    """The upstream's name."""
    return BOUNDS.upstream_at(permit.scope.base_url)


def _left() -> Iterator[Sample]:
    now = time.monotonic()
    for upstream, until in list(_cooling.items()):
        yield (upstream,), max(until - now, 0.0)


read(names.COOLING, _left)
