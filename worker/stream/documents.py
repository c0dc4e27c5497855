"""JSON as upstreams write it: strict and fast first, then whatever can still be read."""

import json
import math

import msgspec

_decode_strictly = msgspec.json.Decoder().decode


def parse(data: bytes) -> object:
    """The JSON document in `data`.

    Read with replacement characters for invalid UTF-8, and null for NaN and what is infinite
    (Python's json accepts both, JSON and PostgreSQL do not). Lone surrogates stay as they are:
    their other half may come in the next document.

    Raises:
        ValueError: it is no JSON, is nested too deeply, or holds an integer that Python
            refuses to read (over 4,300 digits).
    """
    try:
        return _decode_strictly(data)
    except (ValueError, RecursionError):
        pass
    try:
        text = data.decode("utf-8", "replace")
        # strict=False: a raw control character in a text is illegal, but its meaning is plain.
        document: object = json.loads(
            text, strict=False, parse_constant=lambda _: None, parse_float=_finite
        )
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return document


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def is_container(data: bytes) -> bool:
    """Whether the bytes are one whole JSON object or list.

    A cut leaves a number or a word that still parses, never an object.
    """
    try:
        return isinstance(parse(data), dict | list)
    except ValueError:
        return False
