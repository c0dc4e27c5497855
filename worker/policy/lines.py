"""Where a table or a field stands in a TOML text: tomllib does not tell."""

import tomllib
from collections.abc import Iterator

DEEPEST = 4
"""Parts of the longest path there is: `rate_limit.code.slow_down.base_s`."""

Path = tuple[str, ...]


def line_numbers(text: str) -> dict[Path, int]:
    """The first line, from 1, on which each table or field is written.

    Each line is read as a text of its own, which is right for everything but values of several
    lines; fields have none.
    """
    found: dict[Path, int] = {}
    table: Path = ()
    for number, line in enumerate(text.split("\n"), 1):
        paths = list(_paths(_parsed(line)))
        if line.lstrip().startswith("["):
            table = max(paths, key=len, default=table)
            found.setdefault(table, number)
            continue
        for path in paths:
            found.setdefault(table + path, number)
    return found


def _parsed(line: str) -> dict[str, object]:
    try:
        return tomllib.loads(line)
    except (ValueError, RecursionError):
        return {}


def _paths(value: object, above: Path = ()) -> Iterator[Path]:
    if not isinstance(value, dict) or len(above) == DEEPEST:
        return
    for name, inner in value.items():
        yield (*above, name)
        yield from _paths(inner, (*above, name))
