"""Text that every database, and UTF-8, can hold; and moments as text."""

import re
from datetime import datetime
from typing import overload

REPLACEMENT = "\ufffd"
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def repair(text: str) -> str:
    """The text with surrogate pairs joined, and NUL and lone surrogates replaced by U+FFFD.

    PostgreSQL refuses NUL in text; UTF-8 has no form for a lone surrogate.
    """
    if not _UNSTORABLE.search(text):
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\x00", REPLACEMENT)


def repair_document(value: object) -> object:
    """The JSON document with each text in it, keys included, repaired."""
    if isinstance(value, str):
        return repair(value)
    if isinstance(value, dict):
        return {repair(key): repair_document(item) for key, item in value.items()}
    if isinstance(value, list):
        return [repair_document(item) for item in value]
    return value


@overload
def moment(at: datetime) -> str: ...
@overload
def moment(at: datetime | None) -> str | None: ...
def moment(at: datetime | None) -> str | None:
    """A moment in UTC as our documents have it, in ISO 8601: `2030-01-31T22:00:00.123456Z`."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
