"""Which models a key may use: it has patterns, as the upstreams have; None is any model."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from worker.errors import Denied
from worker.request.values import LONGEST_SHOWN


def is_allowed(model: str, allowed: Sequence[str] | None) -> bool:
    """Whether a key with these patterns may use the model."""
    return allowed is None or any(fnmatchcase(model, each) for each in allowed)


def require_allowed(model: str, allowed: Sequence[str] | None) -> None:
    """Go on only if a key with these patterns may use the model.

    Raises:
        Denied: it may not.
    """
    if not is_allowed(model, allowed):
        raise Denied(f"model: {not_allowed(model, allowed)}")


def not_allowed(model: str, allowed: Sequence[str] | None) -> str:
    """Why the key may not use the model, and what to do."""
    return f"this key may not use {model[:LONGEST_SHOWN]!r}; use {', '.join(allowed or ())}"
