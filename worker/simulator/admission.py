"""A requests-per-minute limit as OpenAI enforces it: a token bucket and its headers."""

import math
import time

from worker.simulator.durations import go_duration
from worker.simulator.faults.refusals import error_body
from worker.simulator.steps import Steps, document


class Bucket:
    """Admits `burst` requests at once, then one each 60 / `per_minute` seconds.

    `per_minute` 0 admits everything, and its headers show OpenAI's usual plenty. `burst` 0 is a
    minute's worth; OpenAI documents that it may enforce a limit over shorter times than a minute.
    Where `announced` is False only refusals tell of the limit: many gateways send no headers.
    """

    def __init__(self, per_minute: int, burst: int = 0, *, announced: bool = True) -> None:
        self.per_minute = per_minute
        self._size = float(burst or per_minute)
        self._announced = announced
        self._level = self._size
        self._filled_at_s = time.monotonic()

    def admit(self) -> bool:
        """Take one request out, if there is one."""
        if self.per_minute == 0:
            return True
        now = time.monotonic()
        gained = (now - self._filled_at_s) * self.per_minute / 60
        self._level = min(self._size, self._level + gained)
        self._filled_at_s = now
        if self._level < 1:
            return False
        self._level -= 1
        return True

    @property
    def wait_s(self) -> float:
        """Seconds until the next request fits."""
        return max(0.0, 1 - self._level) * 60 / self.per_minute if self.per_minute else 0.0

    def headers(self) -> dict[str, str]:
        """`x-ratelimit-*`; the reset tells when the bucket is full again, as OpenAI's does."""
        if not self._announced:
            return {}
        if self.per_minute == 0:
            return _PLENTY
        missing = self._size - self._level
        return {
            "x-ratelimit-limit-requests": str(self.per_minute),
            "x-ratelimit-remaining-requests": str(int(self._level)),
            "x-ratelimit-reset-requests": go_duration(missing * 60 / self.per_minute),
        }

    def refusal(self) -> Steps:
        """The 429 that says when to come again."""
        limit = self.per_minute
        message = (
            "Rate limit reached for sim in organization org-simulator on requests per min (RPM): "
            f"Limit {limit}, Used {limit}, Requested 1. Please try again in "
            f"{go_duration(self.wait_s)}."
        )
        wait = {
            "retry-after": str(math.ceil(self.wait_s)),
            "retry-after-ms": str(math.ceil(self.wait_s * 1000)),
        }
        return document(429, error_body(message, "requests", "rate_limit_exceeded"), wait)


_PLENTY = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
    "x-ratelimit-limit-tokens": "30000000",
    "x-ratelimit-remaining-tokens": "29999000",
    "x-ratelimit-reset-tokens": "2ms",
}
