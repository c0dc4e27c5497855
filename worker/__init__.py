"""Deltaworks: a background worker for streamed completions.

What other programs use is exported here, and imported only when it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.api import Deltaworks, connect, submit
    from worker.errors import Conflict, DeltaworksError, InvalidCursor, InvalidRequest, JobNotFound

__version__ = "0.1.0"

_ORIGINS = {
    "Conflict": "worker.errors",
    "Deltaworks": "worker.api",
    "DeltaworksError": "worker.errors",
    "InvalidCursor": "worker.errors",
    "InvalidRequest": "worker.errors",
    "JobNotFound": "worker.errors",
    "connect": "worker.api",
    "submit": "worker.api",
}

__all__ = [
    "Conflict",
    "Deltaworks",
    "DeltaworksError",
    "InvalidCursor",
    "InvalidRequest",
    "JobNotFound",
    "connect",
    "submit",
]


def __getattr__(name: str) -> object:
    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ORIGINS[name]), name)
