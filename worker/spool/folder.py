"""The spool's folder, one for each database. Its files hold what models said.

<job>.<attempt>.json   a settlement; it gets this name when all of it is on the disk
<job>.<attempt>.part   one that is being written, or was when its process died
<job>.<attempt>.bad    one that cannot be settled, kept for people
lock                   held by the process that settles
"""

import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from worker.disk import for_us_alone, sync
from worker.engines.folder import open_lock, try_lock

# How old a count of the files may be; others write here, too.
COUNT_AGAIN_S = 1.0


class SpoolFolder:
    """The files of one database's spool. Every method blocks, and may raise OSError."""

    def __init__(self, path: Path, most_files: int, most_bytes: int) -> None:
        self._path = path
        self._most_files = most_files
        self._most_bytes = most_bytes
        self._counting = threading.Lock()
        self._counted_at: float | None = None
        self._files = self._bytes = 0

    def write(self, name: str, content: bytes) -> None:
        """Keep the content under the name; on return a power cut does not lose it.

        Raises:
            OSError: EDQUOT where the spool is full, or what the disk says. Nothing is kept.
        """
        self._create()
        self._take_room(len(content))
        draft = self._path / f"{name}.part"
        try:
            with open(draft, "wb", opener=for_us_alone) as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path / f"{name}.json")
            sync(self._path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def names(self) -> Sequence[str]:
        """What waits, the oldest first."""
        if not self._path.is_dir():
            return []
        found = ((_age(path), path.stem) for path in self._path.glob("*.json"))
        return [name for _, name in sorted(found)]

    def read(self, name: str) -> bytes:
        """The content."""
        return (self._path / f"{name}.json").read_bytes()

    def remove(self, name: str) -> None:
        """It has been settled, or lost; another process may have removed it."""
        (self._path / f"{name}.json").unlink(missing_ok=True)

    def set_aside(self, name: str) -> None:
        """Nobody is to try it again; people may look at it."""
        (self._path / f"{name}.json").replace(self._path / f"{name}.bad")

    @contextmanager
    def settling(self) -> Iterator[bool]:
        """Whether this process, and no other meanwhile, settles what is here."""
        lock = open_lock(self._path / "lock")
        try:
            yield try_lock(lock, fcntl.LOCK_EX)
        finally:
            os.close(lock)

    def _create(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.mkdir(mode=0o700, exist_ok=True)
        found = self._path.lstat()
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise PermissionError(errno.EPERM, "others own or may enter it", str(self._path))

    def _take_room(self, size: int) -> None:
        with self._counting:
            now = time.monotonic()
            if self._counted_at is None or now - self._counted_at >= COUNT_AGAIN_S:
                sizes = [entry.stat().st_size for entry in os.scandir(self._path)]
                self._files, self._bytes, self._counted_at = len(sizes), sum(sizes), now
            if self._files >= self._most_files or self._bytes + size > self._most_bytes:
                raise OSError(errno.EDQUOT, "the spool is full", str(self._path))
            self._files += 1
            self._bytes += size


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # another process has just settled it
        return 0.0
