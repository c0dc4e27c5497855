"""Extras: what an upstream says beyond the known, which travels with the text beside it."""

from collections.abc import Mapping, Sequence

import msgspec

from worker.stream.wire import Extra
from worker.text import repair, repair_document

# Under this name a saved message has what came beside it. It is text: log probabilities are large,
# and almost all who read the message have no use for them.
BESIDE = "beside"

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


def all_merged(extras: Sequence[Extra]) -> Extra:
    """Extras as one, in their order; by halves, lest a long list be copied once for each of them.

    Args:
        extras: at least one.
    """
    if len(extras) == 1:
        return extras[0]
    half = len(extras) // 2
    return merged(all_merged(extras[:half]), all_merged(extras[half:]))


def encoded(extra: Extra) -> str:
    """An extra as a saved message has it."""
    return msgspec.json.encode(extra).decode()


def beside(message: Mapping[str, object]) -> dict[str, object]:
    """What a saved message has beside it, ready to be written as JSON."""
    kept = message.get(BESIDE)
    if not isinstance(kept, str):
        return {}
    return {**msgspec.json.decode(kept, type=dict[str, msgspec.Raw])}


def _continued(key: str, earlier: object, later: object, levels: int) -> object:
    if isinstance(earlier, dict) and isinstance(later, dict) and levels:
        return merged(earlier, later, levels)
    if isinstance(earlier, list) and isinstance(later, list):
        return [*earlier, *later]
    if isinstance(earlier, str) and isinstance(later, str) and key not in _IDENTIFYING:
        return earlier + later
    return earlier if later is None else later
