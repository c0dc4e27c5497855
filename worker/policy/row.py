"""A row of the policy: its terms, and where each of them is written."""

from typing import Annotated, Literal, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta

from worker.errors import Category

A_DAY_S = 86_400.0
LONGEST_S = 31 * A_DAY_S
"""The longest duration of a table: the longest period known of a quota."""

# What a description says is what a fault tells people to write.
Action = Annotated[
    Literal["retry", "suspend", "fail"], Meta(description='"retry", "suspend" or "fail"')
]
Budget = Literal["failures", "throttles"]
Counted = Annotated[
    Literal["failures", "throttles", "nothing"],
    Meta(description='"failures", "throttles" or "nothing"'),
]
Scope = Literal["model", "key"]
CooledDown = Annotated[
    Literal["none", "model", "key"], Meta(description='"none", "model" or "key"')
]
Flag = Annotated[bool, Meta(description="true or false")]
# A pause of nothing would have a job that is retried without limit spin.
Pause = Annotated[
    float, Meta(ge=0.01, le=LONGEST_S, description=f"seconds, from 0.01 to {LONGEST_S:.0f}")
]
Seconds = Annotated[
    float, Meta(ge=0, le=LONGEST_S, description=f"seconds, from 0 to {LONGEST_S:.0f}")
]
Count = Annotated[int, Meta(ge=0, le=1000, description="a whole number from 0 to 1000")]
Share = Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1, like 0.5")]


class Origin(NamedTuple):
    """Where something of the policy is written.

    Attributes:
        file: the user's file; None is the packaged table.
        table: the path of the table, like `("rate_limit", "code", "slow_down")`.
        line: counted from 1; None where it was not found.
    """

    file: str | None
    table: tuple[str, ...]
    line: int | None

    def __str__(self) -> str:
        name = self.file or "the packaged table"
        return name if self.line is None else f"{name}, line {self.line}"


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that a table may have; `policy.toml` says what each means, and its source."""

    action: Action
    base_s: Pause = 0.5
    cap_s: Pause = 8.0
    at_once: Flag = False
    longest_wait_s: Pause = A_DAY_S
    counts: Counted = "failures"
    most: Count = 5
    bulk_unlimited: Flag = False
    budget_cost: Count = 5
    fallback: Flag = False
    suspend_s: Seconds = 0.0
    until_named: Flag = False
    cool_down: CooledDown = "none"
    cool_down_errors: Count = 1
    cool_down_calls: Count = 1
    cool_down_share: Share = 0.0
    cool_down_within_s: Pause = 60.0
    cool_down_least_s: Seconds = 5.0
    cool_down_most_s: Seconds = 30.0


class Row(Terms, frozen=True, kw_only=True):
    """What is done about the errors of a category, or about one code of it.

    Attributes:
        category: the errors that the row is for.
        code: in the spelling of `folded`; None for all codes that have no row.
        origin: the table that is most particular about these errors, the user's before ours.
        sources: where each term is written; terms without one have their default.
    """

    category: Category
    code: str | None
    origin: Origin
    sources: dict[str, Origin]

    @property
    def name(self) -> str:
        """The path of the row's table."""
        return self.category if self.code is None else f"{self.category}.code.{self.code}"

    def terms(self) -> dict[str, object]:
        """Every field's value."""
        return {name: getattr(self, name) for name in FIELDS}

    def document(self) -> dict[str, object]:
        """The row as a JSON object."""
        return {
            "category": self.category.value,
            "code": self.code,
            **self.terms(),
            "origin": self.origin._asdict(),
            "sources": {name: source._asdict() for name, source in self.sources.items()},
        }

    def limit(self, lane: str) -> int | None:
        """How often the budget may have been charged before; None where nothing limits it."""
        if self.counts == "nothing" or (self.bulk_unlimited and lane == "bulk"):
            return None
        return self.most


FIELDS: dict[str, object] = get_type_hints(Terms, include_extras=True)
"""The types of the fields, by name."""


def folded(code: str) -> str:
    """Codes are compared without case; `Arrearage` is `arrearage`."""
    return code.strip().casefold()
