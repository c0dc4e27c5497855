"""Contents as files of one folder, which is made with the first of them."""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from worker.disk import for_us_alone, sync

# What is being written lies under this ending until it is whole.
PART = ".part"
# A draft that has not grown for so long was left by a process that died; seconds.
LEFT_S = 86_400.0


class Folder:
    """Contents in a folder; it and they are for this user alone.

    Args:
        path: the folder. Its parents are made, too.
    """

    # What may go wrong with it.
    faults: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_tidy = False

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that takes its name at the end of the block, and then survives a power cut."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._tidy()
        # Two that write the same must not write into one another.
        part = self._path / f"{name}.{secrets.token_hex(4)}{PART}"
        try:
            with open(part, "xb", opener=for_us_alone) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync(self._path)

    def open(self, name: str) -> BinaryIO:
        """The content."""
        return (self._path / name).open("rb")

    def size(self, name: str) -> int:
        """Its bytes."""
        return (self._path / name).stat().st_size

    def remove(self, name: str) -> None:
        """Remove it. Raises FileNotFoundError where it is not."""
        (self._path / name).unlink()

    def _tidy(self) -> None:
        """Remove what dead processes have left of their drafts; once in this process's life."""
        if self._is_tidy:
            return
        self._is_tidy = True
        for part in self._path.glob(f"*{PART}"):
            with suppress(FileNotFoundError):  # another process has the same thought
                if time.time() - part.stat().st_mtime > LEFT_S:
                    part.unlink()
