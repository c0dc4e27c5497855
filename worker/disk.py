"""Files that nobody else may read, and that a power cut leaves whole."""

import os
from pathlib import Path


def for_us_alone(path: str, flags: int) -> int:
    """An `opener` for `open`: what it makes is for this user alone."""
    return os.open(path, flags, 0o600)


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a folder, would survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
