"""The processes of one measurement: each with its log, its CPU time, and a certain end."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import redis

from worker.engines import redis_server_binary
from worker.engines.keeper import dying_with_parent

ROOT = Path(__file__).parents[2]
Found = TypeVar("Found")

# How long a process may take to become ready on a busy machine.
PATIENCE_S = 120.0
LINUX = sys.platform.startswith("linux")


class Child:
    """A process that dies with the bench. `folder` gets its log, `<name>.log`."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path = ROOT,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - commands of this package
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Read here as people read it.
                env={**os.environ, "DELTAWORKS_LOG_FORMAT": "text", **(environment or {})},
                cwd=directory,
                preexec_fn=dying_with_parent(),  # noqa: PLW1509 - only system calls
            )

    def __enter__(self) -> "Child":
        return self

    def __exit__(self, *_: object) -> None:
        # No goodbyes: what it was started for has been measured.
        for process in self._family():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def cpu_s(self) -> float:
        """User and system time so far, with that of living children."""
        return sum(_cpu_s(process) for process in self._family())

    def pids(self) -> list[int]:
        """Its own, and those of its living children."""
        return [process.pid for process in self._family()]

    def waited_s(self) -> float:
        """How long its threads were ready to run while others had the cores; 0 where not known."""
        waited_ns = 0
        for process in self._family():
            for schedule in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
                with suppress(OSError):
                    waited_ns += int(schedule.read_text().split()[1])
        return waited_ns / 1e9

    def memory_mb(self) -> float:
        """Resident memory, that of living children included."""
        return sum(process.memory_info().rss for process in self._family()) / 1e6

    def await_line(self, pattern: str) -> re.Match[str]:
        """The first match in what it prints.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """
        return self._await(lambda: re.search(pattern, self.printed()))

    def await_answer(self, url: str) -> None:
        """Return when it answers there with 200.

        Raises:
            RuntimeError: it ended, or took too long; with the end of its log.
        """

        def answered() -> bool:
            with suppress(httpx.TransportError):
                return httpx.get(url).status_code == httpx.codes.OK
            return False

        self._await(answered)

    def await_end(self, timeout_s: float) -> None:
        """Return when it has ended of itself with status 0.

        Raises:
            RuntimeError: it failed, or took too long; with the end of its log.
        """
        with suppress(subprocess.TimeoutExpired):
            if self._process.wait(timeout_s) == 0:
                return
        raise RuntimeError(f"{self.name} failed:\n{self.printed()[-3000:]}")

    def printed(self) -> str:
        """All it has printed."""
        return self._log.read_text(errors="replace")

    def _await(self, look: Callable[[], Found | None]) -> Found:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := look():
                return found
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} is not ready:\n{self.printed()[-3000:]}")

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self._process.pid)
            return [process, *process.children(recursive=True)]
        return []


def _cpu_s(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess, OSError):
        if LINUX:
            # Its CPU clock, whose number clock_getcpuclockid(3) computes: nanoseconds, where the
            # times of psutil are rounded to hundredths of a second.
            return time.clock_gettime(~process.pid << 3 | 2)
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def free_port() -> int:
    """One of loopback that nobody listens on, for programs that cannot choose one themselves."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start_redis(stack: ExitStack, folder: Path) -> tuple[Child, str]:
    """A Redis that persists nothing, on loopback TCP as in production; and its URL."""
    port = free_port()
    command: list[str | Path] = [redis_server_binary(), "--port", str(port), "--bind", "127.0.0.1"]
    command += ["--save", "", "--appendonly", "no", "--dir", folder]
    child = stack.enter_context(Child("redis", command, folder))
    child.await_line("Ready to accept connections")
    url = f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(url) as client:
        client.ping()
    return child, url


def start_simulator(stack: ExitStack, folder: Path) -> tuple[Child, str]:
    """The upstream, and its base URL."""
    command = [sys.executable, "-m", "worker.simulator"]
    child = stack.enter_context(Child("simulator", command, folder))
    return child, child.await_line(r"listening (\S+)")[1]


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], directory: Path = ROOT
) -> str:
    """Run a command to its end; what it printed.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    return subprocess.run(  # noqa: S603 - commands of this package
        [str(word) for word in command],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
        cwd=directory,
    ).stdout
