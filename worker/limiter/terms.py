"""The limiter's words: who asks for what, and what it answers."""

import random
from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from worker.catalog import ANY_MODEL, RateLimits


class Scope(Struct, frozen=True):
    """What a limit, a cool-down or a learned header is about.

    Attributes:
        base_url, key_fingerprint: the account at an upstream (`Upstream.key_fingerprint`).
        model: as the upstream calls it.
    """

    base_url: str
    key_fingerprint: str
    model: str

    @property
    def of_key(self) -> "Scope":
        """The scope that all models of the account share."""
        return Scope(self.base_url, self.key_fingerprint, ANY_MODEL)


class Permit(Struct, frozen=True):
    """What one attempt asks for: one request, its tokens, one open stream.

    Attributes:
        job, attempt: who asks.
        bulk: whether nobody watches.
        scope: the model at the account.
        key_limits, model_limits: what is configured for all models of the account, and for
            this one besides.
        interactive_share: the part, from 0 to below 1, that bulk leaves alone.
        tokens: the estimate (see `estimated_tokens`).
    """

    job: str
    attempt: int
    bulk: bool
    scope: Scope
    key_limits: RateLimits
    model_limits: RateLimits
    interactive_share: float
    tokens: int

    @property
    def member(self) -> str:
        """The permit's name among the open streams."""
        return f"{self.job}:{self.attempt}"


class Granted(Struct, frozen=True):
    """The request may go in `wait_s` seconds; its slot is reserved, and spent.

    Attributes:
        epochs: how many cool-downs there had been; with one more the grant is void.
        watched: whether a clean start lets others go.
    """

    wait_s: float
    epochs: int = 0
    watched: bool = False


class Reason(StrEnum):
    """What there was none of."""

    COOLING = "cooling"
    SLOW_START = "slow_start"
    STREAMS = "streams"
    REQUESTS = "requests"
    TOKENS = "tokens"
    QUEUE = "queue"


class NotNow(Struct, frozen=True):
    """Nothing is reserved; asking makes sense again in `wait_s` seconds, jitter included."""

    wait_s: float
    reason: Reason


class CoolDown(Struct, frozen=True):
    """From when on, and for how long, errors of one category have everybody leave a scope alone.

    It begins when of the calls of the last `within_s` seconds (at most 60 are looked back on) at
    least `errors` had such an error, they were at least `calls`, and more than the share had one.

    Attributes:
        whole_key: whether all models of the account are left alone, not only the one.
        least_s, most_s: its length is drawn from here where the upstream names no time.
    """

    whole_key: bool = False
    errors: int = 1
    calls: int = 1
    share: float = 0.0
    within_s: float = 60.0
    least_s: float = 5.0
    most_s: float = 30.0

    @property
    def at_once(self) -> bool:
        """Whether the first such error begins it."""
        return self.errors <= 1 and self.calls <= 1 and self.share == 0

    def wait_s(self, named_s: float | None) -> float:
        """Seconds that it lasts: until the time the upstream named, if it did."""
        if named_s is not None:
            return named_s
        return random.uniform(self.least_s, self.most_s)  # noqa: S311  no secret


class Failure(Struct, frozen=True):
    """An attempt that the upstream, or the way to it, failed.

    Attributes:
        category: the error's.
        retry_after_s: the wait that the upstream named; None where it named none.
        cool_down: what such errors lead to; None for nothing.
    """

    category: str
    retry_after_s: float | None = None
    cool_down: CoolDown | None = None


class Outcome(Struct, frozen=True):
    """How an attempt went: `clean`, failed by the upstream, or neither: ended by our own will.

    Attributes:
        unheard: whether others waited for its clean start and nothing was heard of that.
    """

    clean: bool
    failure: Failure | None
    unheard: bool


class Reading(Struct, frozen=True):
    """What a response's headers say of one limit; -1 where they do not.

    Attributes:
        limit: units a minute.
        remaining: units that are left now.
    """

    limit: float = -1.0
    remaining: float = -1.0


Readings = Mapping[str, Reading]
"""What a response's headers say, by unit: `requests` or `tokens`."""


class State(Struct, frozen=True):
    """A scope as the fleet sees it now, for people.

    Attributes:
        cooling_s: seconds that its cool-down has yet to last; 0 where there is none.
        slow_start: whether only a few go at a time.
        open_streams: permits held, where a maximum is configured.
        learned_requests_per_minute, learned_tokens_per_minute: what the upstream's headers told;
            None where they told nothing of late.
        retries_left: what is left of the account's retry budget.
    """

    cooling_s: float
    slow_start: bool
    open_streams: int
    learned_requests_per_minute: float | None
    learned_tokens_per_minute: float | None
    retries_left: int
