"""What the results pages have in common: medians of runs, their spread, and tables."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

Result = TypeVar("Result")
Key = TypeVar("Key")


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """The runs of each measurement together."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def middle(found: Sequence[Result], number: Callable[[Result], float]) -> float:
    """The median of one number of the runs."""
    return statistics.median(number(result) for result in found)


def spread(found: Iterable[Result], number: Callable[[Result], float], form: str) -> str:
    """The median of one number of the runs, and where there are several the bounds."""
    numbers = sorted(map(number, found))
    said = format(statistics.median(numbers), form)
    if len(numbers) == 1:
        return said
    return f"{said} ({format(numbers[0], form)}-{format(numbers[-1], form)})"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table."""
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]
