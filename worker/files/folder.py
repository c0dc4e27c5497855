"""Contents as files of one folder, which is made with the first of them."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# What is being written lies under this ending until it is whole.
PART = ".part"


class Folder:
    """Contents in a folder; it and they are for this user alone.

    Args:
        path: the folder. Its parents are made, too.
    """

    # What may go wrong with it.
    faults: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file that takes its name at the end of the block, and then survives a power cut."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Two that write the same must not write into one another.
        part = self._path / f"{name}.{secrets.token_hex(4)}{PART}"
        try:
            with open(part, "xb", opener=_for_us_alone) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        self._sync()

    def open(self, name: str) -> BinaryIO:
        """The content."""
        return (self._path / name).open("rb")

    def size(self, name: str) -> int:
        """Its bytes."""
        return (self._path / name).stat().st_size

    def remove(self, name: str) -> None:
        """Remove it. Raises FileNotFoundError where it is not."""
        (self._path / name).unlink()

    def _sync(self) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _for_us_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
