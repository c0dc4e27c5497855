"""Extras: what an upstream says beyond the known, which travels with the text beside it."""

import msgspec

from worker.stream.wire import Extra
from worker.text import repair, repair_document

# Identify, and so are repeated rather than continued; as in openai-python's accumulate_delta.
_IDENTIFYING = frozenset({"id", "index", "type"})

# Levels at which two waiting extras are joined; log probabilities and audio need two.
_JOINED_LEVELS = 4


def cleaned(document: Extra) -> Extra | None:
    """The document as every database can hold it; None where nothing is left of it.

    A document nested too deeply to be walked is dropped: no upstream says anything so.
    """
    try:
        if _is_clean(document):
            return document or None
        return {repair(key): repair_document(value) for key, value in document.items()}
    except RecursionError:
        return None


def _is_clean(document: Extra) -> bool:
    # Encoding tells much faster than a walk that there is neither NUL nor a lone surrogate.
    try:
        return b"\\u0000" not in msgspec.json.encode(document)
    except UnicodeEncodeError:
        return False


def merged(earlier: Extra, later: Extra, levels: int = _JOINED_LEVELS) -> Extra:
    """Two extras as one, by the rules of deltas: texts and lists are continued, objects merged.

    Numbers, and what identifies, are replaced by the later.
    """
    both = dict(earlier)
    for key, value in later.items():
        both[key] = _continued(key, both[key], value, levels - 1) if key in both else value
    return both


def _continued(key: str, earlier: object, later: object, levels: int) -> object:
    if isinstance(earlier, dict) and isinstance(later, dict) and levels:
        return merged(earlier, later, levels)
    if isinstance(earlier, list) and isinstance(later, list):
        return [*earlier, *later]
    if isinstance(earlier, str) and isinstance(later, str) and key not in _IDENTIFYING:
        return earlier + later
    return earlier if later is None else later
