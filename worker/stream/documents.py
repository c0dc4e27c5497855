"""JSON as upstreams write it: strict and fast first, then whatever can still be read."""

import json
import math

import msgspec

_decode_strictly = msgspec.json.Decoder().decode

# The keys on the way to a text; what stands under any other is beside it.
_LEADING_TO_TEXT = frozenset(
    {"choices", "delta", "message", "tool_calls", "function", "arguments"}
    | {"content", "reasoning_content", "reasoning", "refusal", "thinking", "text"}
)


def parse(data: bytes) -> object:
    """The JSON document in `data`.

    Read with replacement characters for invalid UTF-8, and null for NaN and what is infinite
    (Python's json accepts both, JSON and PostgreSQL do not). Lone surrogates stay as they are:
    their other half may come in the next document.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds an integer that Python
            refuses to read (over 4,300 digits), or NaN where a chunk has its text.
    """
    try:
        return _decode_strictly(data)
    except (ValueError, RecursionError):
        pass
    try:
        text = data.decode("utf-8", "replace")
        numbers = _Numbers()
        # strict=False: a raw control character in a text is illegal, but its meaning is plain.
        document: object = json.loads(
            text, strict=False, parse_constant=numbers.read, parse_float=numbers.read
        )
        return document if numbers.all_finite else _with_null(document, leads_to_text=True)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


class _Numbers:
    """Reads numbers with a point, and the words for what is none."""

    def __init__(self) -> None:
        self.all_finite = True

    def read(self, number: str) -> float:
        value = float(number)
        self.all_finite = self.all_finite and math.isfinite(value)
        return value


def _with_null(value: object, *, leads_to_text: bool) -> object:
    """The document with null for NaN and what is infinite. Null is no text: what was meant as a
    piece of one would be skipped, and leave a hole.
    """
    if isinstance(value, dict):
        return {
            key: _with_null(item, leads_to_text=leads_to_text and key in _LEADING_TO_TEXT)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_with_null(item, leads_to_text=leads_to_text) for item in value]
    if not isinstance(value, float) or math.isfinite(value):
        return value
    if leads_to_text:
        raise ValueError("NaN in the place of a text")
    return None


def is_container(data: bytes) -> bool:
    """Whether the bytes are one whole JSON object or list.

    A cut leaves a number or a word that still parses, never an object.
    """
    try:
        return isinstance(parse(data), dict | list)
    except ValueError:
        return False
