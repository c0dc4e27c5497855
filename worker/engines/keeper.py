"""The keeper: parent of one server, restarts it while it has users, ends it after the last one.

The main thread does everything. Two helpers only wait, one for the last user to leave and one for
the server to exit, and tell it so through a queue. The server must be started by the main thread:
the signal that Linux sends it when its parent dies is bound to the thread that forked.
"""

import ctypes
import enum
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

import msgspec

from worker.engines.folder import POLL_INTERVAL_S, Folder, lock_within, open_lock, try_lock
from worker.engines.servers import Process, Redis, Server, Simulator
from worker.errors import EngineFailed

log = logging.getLogger(__name__)

# The waits before the restarts of a server that keeps dying; after the last the keeper gives up.
RESTART_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6)

# A server that has lived this long gets all its restarts back.
STABLE_AFTER_S = 60.0

# How long the kernel may take to end a process after SIGKILL.
KILL_TIMEOUT_S = 5.0

# `linux/prctl.h`.
PR_SET_PDEATHSIG = 1


class Plan(msgspec.Struct, frozen=True):
    """What a joiner tells the keeper that it starts."""

    server: Redis | Simulator | Process
    fingerprint: str


class Event(enum.Enum):
    """What the main thread waits for."""

    SERVER_EXITED = enum.auto()
    END = enum.auto()


class Keeper:
    """Keeps the server of `plan` in `folder`. Its process holds keeper.lock, and its output is
    the engine's log.
    """

    def __init__(self, folder: Folder, plan: Plan) -> None:
        self._folder = folder
        self._server: Server = plan.server
        self._fingerprint = plan.fingerprint
        self._address = ""
        self._ready_at = 0.0
        self._events: SimpleQueue[Event] = SimpleQueue()

    def run(self) -> None:
        """Start the server; return when the last user has left and it has ended.

        Raises:
            EngineFailed: the server does not start, or dies again and again.
        """
        signal.signal(signal.SIGTERM, lambda *_: self._events.put(Event.END))
        end_server(self._folder, self._server)
        self._start()
        threading.Thread(target=self._await_last_user, daemon=True).start()
        try:
            self._keep_running()
        finally:
            self._folder.withdraw()
            end_server(self._folder, self._server)

    def _keep_running(self) -> None:
        waits = iter(RESTART_WAITS_S)
        while self._events.get() is Event.SERVER_EXITED:
            self._folder.withdraw()
            if time.monotonic() - self._ready_at >= STABLE_AFTER_S:
                waits = iter(RESTART_WAITS_S)
            self._restart(waits)

    def _restart(self, waits: Iterator[float]) -> None:
        for wait_s in waits:
            log.warning("the server exited; restarting it in %g s", wait_s)
            if self._must_end_within(wait_s):
                return
            try:
                self._start()
            except EngineFailed as error:
                log.warning("%s", error)
            else:
                return
        raise EngineFailed(f"the server died again after {len(RESTART_WAITS_S)} restarts")

    def _must_end_within(self, wait_s: float) -> bool:
        try:
            self._events.put(self._events.get(timeout=wait_s))
        except Empty:
            return False
        return True

    def _start(self) -> None:
        self._server.prepare()
        printed_before = self._folder.log.stat().st_size
        process = self._spawn(self._server.command(self._folder, self._address))
        self._address = self._await_ready(process, printed_before)
        self._ready_at = time.monotonic()
        self._folder.announce(self._address, self._fingerprint)
        threading.Thread(target=self._await_exit, args=(process,), daemon=True).start()

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        # A file of its own for each server: one that retired may still hold the last one's lock.
        self._folder.server_lock.unlink(missing_ok=True)
        lock = open_lock(self._folder.server_lock)
        try_lock(lock, fcntl.LOCK_EX)
        outlives = self._server.outlives_keeper
        try:
            process = subprocess.Popen(  # noqa: S603 - the engine's own command
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(lock,),
                start_new_session=outlives,
                # Nothing else runs here that could hold a lock of the interpreter or of malloc:
                # the helper threads wait in system calls.
                preexec_fn=None if outlives else dying_with_parent(),  # noqa: PLW1509
            )
            os.write(lock, str(process.pid).encode())
        except OSError as error:
            raise EngineFailed(f"{command[0]} cannot be run ({error.strerror})") from error
        finally:
            os.close(lock)
        return process

    def _await_ready(self, process: subprocess.Popen[bytes], printed_before: int) -> str:
        deadline = time.monotonic() + self._server.start_timeout_s
        while not (address := self._server.ready_address(self._printed_since(printed_before))):
            if process.poll() is not None:
                raise EngineFailed(f"exited with status {process.returncode} before it was ready")
            if time.monotonic() >= deadline:
                process.kill()
                process.wait()
                raise EngineFailed(f"not ready within {self._server.start_timeout_s:g} s")
            time.sleep(POLL_INTERVAL_S)
        return address

    def _printed_since(self, position: int) -> str:
        with self._folder.log.open("rb") as printed:
            printed.seek(position)
            return printed.read().decode(errors="replace")

    def _await_last_user(self) -> None:
        # The descriptor stays open, and the lock held, until this process has ended.
        fcntl.flock(open_lock(self._folder.users_lock), fcntl.LOCK_EX)
        self._events.put(Event.END)

    def _await_exit(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self._events.put(Event.SERVER_EXITED)


def end_server(folder: Folder, server: Server) -> None:
    """Stop the server of this engine, whoever started it; return when it has ended or retired.

    Its lock tells whether it lives: that holds for the server of a keeper that was killed too,
    and makes sure that the pid beside it is not somebody else's by now.
    """
    lock = open_lock(folder.server_lock)
    try:
        steps = ((signal.SIGTERM, server.stop_timeout_s), (signal.SIGKILL, KILL_TIMEOUT_S))
        for signal_number, timeout_s in steps:
            if server.retired or try_lock(lock, fcntl.LOCK_EX):
                return
            with suppress(ProcessLookupError, ValueError):
                os.kill(int(folder.server_lock.read_text()), signal_number)
            _await_end(server, lock, timeout_s)
    finally:
        os.close(lock)


def dying_with_parent() -> Callable[[], None] | None:
    """What a child has to do before it executes its program, to be killed when its parent dies.

    None where the system has no such thing; there, only the next keeper ends it.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def request_signal() -> None:
        # SIGKILL: on SIGTERM redis-server would unlink its socket, which by then may be that of
        # its successor.
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    return request_signal


def _await_end(server: Server, lock: int, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while not (server.retired or lock_within(lock, fcntl.LOCK_EX, POLL_INTERVAL_S)):
        if time.monotonic() >= deadline:
            return
