"""Fields that do not go together, or not with the category."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from worker.errors import Category
from worker.policy.row import Row

OUR_OWN = frozenset({Category.SUSPENDED, Category.DEADLINE, Category.POISON, Category.INTERNAL})
"""Ends that no upstream named, so that no upstream's header speaks of them."""

_FINAL = OUR_OWN - {Category.SUSPENDED}
_REFUSED_EVERYWHERE = frozenset({Category.BAD_REQUEST, Category.CONTENT_FILTER})


class _Check(NamedTuple):
    """Something that must not be.

    Attributes:
        fields: what it is about; the fault names the first of them that the user wrote.
        is_broken: the test.
        problem: follows the field and its value in the sentence.
        remedy: what to write instead.
    """

    fields: tuple[str, ...]
    is_broken: Callable[[Row], bool]
    problem: str
    remedy: str


_CHECKS = (
    _Check(
        ("fallback",),
        lambda row: row.fallback and row.category in _REFUSED_EVERYWHERE,
        "would send a request that was refused for what it says to one upstream after the other",
        "remove it",
    ),
    _Check(
        ("fallback",),
        lambda row: row.fallback and row.category in _FINAL,
        "cannot be: the job has ended, and no other upstream would help",
        "remove it",
    ),
    _Check(
        ("action",),
        lambda row: row.action != "fail" and row.category in _FINAL,
        "cannot be: the job has ended, and not by the upstream's doing",
        "remove it",
    ),
    _Check(
        ("action",),
        lambda row: row.action == "retry" and row.category is Category.SUSPENDED,
        "would send what a suspension is there to hold back",
        'use "suspend" or "fail"',
    ),
    _Check(
        ("base_s", "cap_s"),
        lambda row: row.base_s > row.cap_s,
        "puts base_s above cap_s",
        "lower base_s, or raise cap_s, too",
    ),
    _Check(
        ("at_once", "counts"),
        lambda row: row.at_once and row.counts == "nothing",
        "has a job that is charged nothing retried at once, again and again",
        'use at_once = false, or counts = "failures"',
    ),
    _Check(
        ("cool_down_least_s", "cool_down_most_s"),
        lambda row: row.cool_down_least_s > row.cool_down_most_s,
        "puts cool_down_least_s above cool_down_most_s",
        "change the other one, too",
    ),
    _Check(
        ("suspend_s", "action", "cool_down"),
        lambda row: row.action == "suspend" and (row.suspend_s > 0) is (row.cool_down == "none"),
        "leaves open what is suspended, or for how long",
        'set both suspend_s and cool_down ("model" or "key")',
    ),
)


def faults(row: Row) -> Iterator[str]:
    """A sentence for each check that the row does not pass."""
    for check in _CHECKS:
        if check.is_broken(row):
            yield _sentence(check, row)


def _sentence(check: _Check, row: Row) -> str:
    """A user's file is blamed before the packaged table, which has no faults of its own."""
    written = [field for field in check.fields if field in row.sources]
    field = next((f for f in written if row.sources[f].file is not None), written[0])
    source, value = row.sources[field], getattr(row, field)
    said = f"{source}: [{'.'.join(source.table)}] {field} = {value!r} {check.problem}"
    return f"{said}; {check.remedy}"
