"""A tally: what the ended rows of a batch came to, added up row by row.

An ended row never changes, so none is looked at twice: the batch keeps the sum, and how far it
reaches.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from models import ANSWERED, Job
from worker.usage import CACHED, INPUT, OUTPUT, REASONING, count

# What counts as done: its output is worth reading, be it cut short.


class Tally(msgspec.Struct):
    """Sums over rows.

    Attributes:
        completed, failed: rows; failed are all that brought no output.
        categories: of `failed`, by error category; `cancelled` where a row was cancelled.
        input_tokens, cached_tokens, output_tokens, reasoning_tokens: by the upstreams' own counts,
            of the attempts that count.
        cost: of all attempts, in the prices' currency; `priced` rows have one.
        highest: what the dearest row cost.
        reserve: what a row is taken to cost before one has ended.
    """

    completed: int = 0
    failed: int = 0
    categories: dict[str, int] = {}
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float = 0.0
    priced: int = 0
    highest: float = 0.0
    reserve: float = 0.0

    @classmethod
    def of(cls, kept: Mapping[str, object] | None) -> "Tally":
        """The tally that a batch keeps."""
        return msgspec.convert(kept or {}, cls)

    def document(self) -> dict[str, object]:
        """As a batch keeps it."""
        found: dict[str, object] = msgspec.to_builtins(self)
        return found

    def add(self, job: "Job | Any") -> None:
        """Count an ended row: a job, or a row with its columns `state`, `error_category`, `usage`,
        `cost` and `superseded`.
        """
        self._spend(job.cost)
        if not job.superseded:
            self._count(job, 1)
            self._use(job.usage or {}, 1)

    def withdraw(self, job: Job) -> None:
        """A failed row that was counted is tried again. What it has cost stays."""
        self._count(job, -1)
        self._use(job.usage or {}, -1)

    def spend_more(self, before: float | None, spent: float) -> None:
        """A counted row that had cost `before` has cost so much besides."""
        self.cost += spent
        self.priced += before is None
        self.highest = max(self.highest, (before or 0.0) + spent)

    def _count(self, job: "Job | Any", by: int) -> None:
        if job.state in ANSWERED:
            self.completed += by
            return
        self.failed += by
        name = job.error_category or job.state
        self.categories[name] = self.categories.get(name, 0) + by
        if not self.categories[name]:
            del self.categories[name]

    def _spend(self, cost: float | None) -> None:
        if cost is not None:
            self.cost += cost
            self.priced += 1
            self.highest = max(self.highest, cost)

    def _use(self, usage: Mapping[str, object], by: int) -> None:
        self.input_tokens += by * (count(usage, *INPUT) or 0)
        self.output_tokens += by * (count(usage, *OUTPUT) or 0)
        self.cached_tokens += by * (count(usage, *CACHED) or 0)
        self.reasoning_tokens += by * (count(usage, *REASONING) or 0)
