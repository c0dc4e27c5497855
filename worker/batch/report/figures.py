"""What a report says, as plain values: gathered elsewhere, shown as a page or in a terminal."""

from collections.abc import Sequence
from datetime import datetime

from msgspec import Struct


class Spread(Struct, frozen=True):
    """How long something took, over all rows that know it; seconds.

    Attributes:
        count: how many rows know it.
        percentiles: by percent: 50, 90, 95, 99 and 100.
        histogram: the upper bound of each bucket and how many rows are in it; bounds rise.
    """

    count: int
    percentiles: dict[int, float]
    histogram: Sequence[tuple[float, int]]


class Moment(Struct, frozen=True):
    """One stretch of the run: when it began, in seconds since the start, and what ended in it."""

    at_s: float
    completed: int
    failed: int


class Cause(Struct, frozen=True):
    """Why rows failed, or attempts were given up: an error's category and code, and how often."""

    category: str
    code: str | None
    count: int


class RowFigures(Struct, frozen=True, kw_only=True):
    """One row, for the lists of the slowest and of the failed. `took_s` is from start to end."""

    row: int
    custom_id: str
    job: str
    state: str
    took_s: float | None
    attempts: int
    tokens: int | None
    category: str | None = None
    code: str | None = None
    status: int | None = None
    message: str | None = None


class Figures(Struct, frozen=True, kw_only=True):
    """All that a report shows. Lists are cut to a size that people read; counts are whole.

    Attributes:
        status: of the batch, in OpenAI's words; it may still run.
        cost: what was spent, failed attempts included; None where no price is known.
        max_cost: its spending cap, if it has one.
        timeline: stretches of `stretch_s` seconds each, from the start to the end.
        started: from a row's first attempt's begin to its end.
        first_token: from the last attempt's request to its first character.
        retries: attempts that were given up, by cause.
    """

    id: str
    status: str
    endpoint: str
    model: str | None
    metadata: dict[str, str]
    pause: str | None
    created_at: datetime
    began_at: datetime | None
    ended_at: datetime | None
    total: int
    completed: int
    failed: int
    attempts: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost: float | None
    max_cost: float | None
    stretch_s: float
    timeline: Sequence[Moment]
    started: Spread
    first_token: Spread
    failures: Sequence[Cause]
    retries: Sequence[Cause]
    slowest: Sequence[RowFigures]
    failed_rows: Sequence[RowFigures]
