"""The folder of one engine: its files, its locks, and whose it must be."""

import fcntl
import os
import stat
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from worker.disk import for_us_alone
from worker.errors import EngineFailed

# How often a lock or a file is looked at by who waits for it with a time limit (flock has none).
POLL_INTERVAL_S = 0.02

# The lines of the log that an error quotes.
QUOTED_LOG_LINES = 8


class Folder(msgspec.Struct, frozen=True):
    """`<home>/engines/<name>/`; see the package for what each file means."""

    path: Path

    @property
    def users_lock(self) -> Path:
        """Held shared by every user."""
        return self.path / "users.lock"

    @property
    def start_lock(self) -> Path:
        """Held by who is joining."""
        return self.path / "start.lock"

    @property
    def keeper_lock(self) -> Path:
        """Held by the keeper."""
        return self.path / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        """Held by the server; its content is the server's pid."""
        return self.path / "server.lock"

    @property
    def log(self) -> Path:
        """What the keeper and the server printed."""
        return self.path / "log"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the server that runs; empty where none does."""
        return _read(self.path / "fingerprint")

    @property
    def address(self) -> str:
        """The address of the server; empty unless it is ready."""
        return _read(self.path / "address")

    def announce(self, address: str, fingerprint: str) -> None:
        """Let joiners in. The address comes last: who sees it may read the fingerprint."""
        self._replace("fingerprint", fingerprint)
        self._replace("address", address)

    def withdraw(self) -> None:
        """Let no further joiner in."""
        (self.path / "address").unlink(missing_ok=True)

    def open_log(self) -> int:
        """Start a new log, keep the last one, and return a descriptor that appends."""
        with suppress(FileNotFoundError):
            self.log.replace(self.path / "log.1")
        return for_us_alone(str(self.log), os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def failure(self, problem: str) -> EngineFailed:
        """The error for `problem`, with the end of the log."""
        lines = _read(self.log).splitlines()[-QUOTED_LOG_LINES:]
        quoted = "".join(f"\n    {line}" for line in lines) or " (empty)"
        return EngineFailed(f"engine {self.path.name}: {problem}; its log {self.log} ends:{quoted}")

    def _replace(self, name: str, content: str) -> None:
        draft = self.path / f"{name}.new"
        draft.write_text(content + "\n")
        draft.replace(self.path / name)


def engine_folder(home: Path, name: str) -> Folder:
    """Create the folder of the engine `name`, closed to everybody else, where it is missing.

    Raises:
        EngineFailed: it cannot be created, or it is open to somebody else.
    """
    path = home.expanduser().resolve() / "engines" / name
    try:
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EngineFailed(
            f"home {home}: cannot be created ({error.strerror}); set DELTAWORKS_HOME to a folder "
            "that you may write to"
        ) from error
    return Folder(private_folder(path))


def private_folder(path: Path) -> Path:
    """Create `path` with mode 0700, or check that what is there is a folder of ours alone.

    Raises:
        EngineFailed: it cannot be created, is no folder, or others own or may enter it: a server
            in it would be theirs to replace.
    """
    try:
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
        found = path.lstat()
    except OSError as error:
        raise EngineFailed(f"folder {path}: cannot be created ({error.strerror})") from error
    if not stat.S_ISDIR(found.st_mode):
        raise EngineFailed(f"folder {path}: is not a folder; remove it")
    if found.st_uid != os.geteuid():
        raise EngineFailed(
            f"folder {path}: belongs to user {found.st_uid}, not to {os.geteuid()}; remove it, or "
            "set DELTAWORKS_HOME to a folder of your own"
        )
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise EngineFailed(f"folder {path}: others may enter it (mode {mode:o}); chmod 700 it")
    return path


def open_lock(path: Path) -> int:
    """Open a lock file. The lock belongs to the descriptor: who opens twice may hold twice."""
    return for_us_alone(str(path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)


def try_lock(lock: int, operation: int) -> bool:
    """Take the lock (`LOCK_SH` or `LOCK_EX`) if that needs no wait; else hold nothing."""
    try:
        fcntl.flock(lock, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        # Linux drops a shared lock when the change to an exclusive one fails (flock(2)), the
        # BSDs keep it: the same everywhere.
        fcntl.flock(lock, fcntl.LOCK_UN)
        return False
    return True


def lock_within(lock: int, operation: int, timeout_s: float) -> bool:
    """Take the lock; False where it was not granted in time."""
    deadline = time.monotonic() + timeout_s
    while not try_lock(lock, operation):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except FileNotFoundError:
        return ""
