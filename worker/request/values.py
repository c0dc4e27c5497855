"""Values of a request: as errors may show them, and within bounds."""

import msgspec

from worker.errors import InvalidRequest
from worker.text import repair

# A text longer than this may be a prompt or a key: errors tell its length.
LONGEST_SHOWN = 40


def object_of(value: object, field: str) -> dict[str, object]:
    """The value, a JSON object.

    Raises:
        InvalidRequest: it is none.
    """
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return value
    raise InvalidRequest(field, f"is {shown(value)}", "give a JSON object")


def named(field: str) -> str:
    """A field's name as an error may show it."""
    return repair(field) if len(field) <= LONGEST_SHOWN else shown(field)


def shown(value: object) -> str:
    """A value as an error may show it: short scalars as JSON, all else by type, no prompt."""
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        return f"a text of {len(value):,} characters"
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length():,} bits"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, bool | int | float | str | None):
        return ascii(value) if isinstance(value, str) else str(msgspec.json.encode(value), "utf-8")
    return f"of type {type(value).__name__}"


def depth_exceeds(value: object, allowed: int) -> bool:
    """Whether lists and objects lie deeper in one another than is allowed."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return allowed == 0 or any(depth_exceeds(item, allowed - 1) for item in inner)
