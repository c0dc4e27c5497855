"""Joining an engine: become a user first, then see that a keeper lives, then read the address."""

import fcntl
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from worker.engines.folder import (
    POLL_INTERVAL_S,
    engine_folder,
    lock_within,
    open_lock,
    try_lock,
)
from worker.engines.keeper import Plan
from worker.engines.servers import Process, Redis, Simulator, redis_server_binary, redis_socket
from worker.errors import EngineFailed

# Who joins may find others joining, each of whom may wait for one end and one start.
TURN_TIMEOUT_S = 120.0

# What a keeper needs beyond the server's own time: an interpreter's start, on a busy machine.
KEEPER_MARGIN_S = 10.0


class Membership:
    """The right to use an engine, held until `leave` or until the process ends in any way.

    The server outlives every membership but the last. A forked child shares its parent's; a
    program that is executed does not inherit it.

    Attributes:
        address: where the server is reached; see the function that joined.
    """

    __slots__ = ("_users_lock", "address")

    def __init__(self, address: str, users_lock: int) -> None:
        self.address = address
        self._users_lock: int | None = users_lock

    def leave(self) -> None:
        """Give the right back; once is enough, more is harmless."""
        # Closed, not unlocked: unlocking would take a forked child's right away with ours.
        users_lock, self._users_lock = self._users_lock, None
        if users_lock is not None:
            os.close(users_lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.leave()


class Engine:
    """One server of one home, started by whoever joins first.

    Args:
        name: the engine's folder in `<home>/engines/`.
        home: the folder that all commands which share the engine have in common.
        server: what to start, and how it shows that it is ready.
        fingerprint: users with another fingerprint are refused; one line.
        env: variables the server gets beside those of the command that starts it.

    Raises:
        EngineFailed: the folder cannot be created, or is not the user's alone.
    """

    def __init__(
        self,
        name: str,
        home: Path,
        server: Redis | Simulator | Process,
        *,
        fingerprint: str = "",
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._folder = engine_folder(home, name)
        self._plan = Plan(server=server, fingerprint=fingerprint)
        self._env = env or {}

    def join(self) -> Membership:
        """Start the server if nobody has, and become one of its users.

        Every call is a membership of its own, also within one process.

        Raises:
            EngineFailed: it did not start or end in time (the error quotes its log), or it runs
                with another fingerprint.
        """
        turn = open_lock(self._folder.start_lock)
        try:
            if not lock_within(turn, fcntl.LOCK_EX, TURN_TIMEOUT_S):
                raise self._folder.failure(f"others have been joining for {TURN_TIMEOUT_S:g} s")
            return self._join_in_turn()
        finally:
            os.close(turn)

    def _join_in_turn(self) -> Membership:
        users = open_lock(self._folder.users_lock)
        try:
            return Membership(self._enter(users), users)
        except BaseException:
            os.close(users)
            raise

    def _enter(self, users: int) -> str:
        # The keeper holds the lock while it ends the server; it is granted when that is over.
        patience_s = self._plan.server.stop_timeout_s + KEEPER_MARGIN_S
        deadline = time.monotonic() + patience_s
        while (left_s := deadline - time.monotonic()) > 0:
            if not lock_within(users, fcntl.LOCK_SH, left_s):
                break
            address = self._await_address()
            if self._folder.fingerprint == self._plan.fingerprint:
                return address
            self._make_way_for_its_end(users)
        raise self._folder.failure(f"its last run has not ended within {patience_s:g} s")

    def _await_address(self) -> str:
        patience_s = self._plan.server.start_timeout_s + KEEPER_MARGIN_S
        deadline = time.monotonic() + patience_s
        started = False
        while time.monotonic() < deadline:
            if self._start_keeper_if_none_lives(may_start=not started):
                started = True
            if (address := self._folder.address) and self._plan.server.reachable(address):
                return address
            time.sleep(POLL_INTERVAL_S)
        raise self._folder.failure(f"not ready within {patience_s:g} s")

    def _start_keeper_if_none_lives(self, may_start: bool) -> bool:
        keeper_lock = open_lock(self._folder.keeper_lock)
        try:
            if not try_lock(keeper_lock, fcntl.LOCK_EX):
                return False
            if not may_start:
                raise self._folder.failure("did not start")
            self._start_keeper(keeper_lock)
            return True
        finally:
            os.close(keeper_lock)

    def _start_keeper(self, keeper_lock: int) -> None:
        folder = self._folder
        folder.withdraw()
        home, name = folder.path.parent.parent, folder.path.name
        plan = msgspec.json.encode(self._plan).decode()
        command = [sys.executable, "-m", "worker.engines", str(home), name, plan, str(keeper_lock)]
        log = folder.open_log()
        try:
            # The lock is inherited, so there is no moment at which a keeper lives and lacks it.
            subprocess.run(  # noqa: S603 - our own module
                command,
                check=True,
                env=_keeper_environment(self._env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(keeper_lock,),
                start_new_session=True,
            )
        except (OSError, subprocess.CalledProcessError) as error:
            raise folder.failure("its keeper did not start") from error
        finally:
            os.close(log)

    def _make_way_for_its_end(self, users: int) -> None:
        """Return where the server with the other fingerprint is ending, else refuse."""
        # Three cases: we are the only user (then the keeper waits for us to go), the keeper has
        # taken the lock while we tried, or others hold it shared.
        if not try_lock(users, fcntl.LOCK_EX) and try_lock(users, fcntl.LOCK_SH):
            raise EngineFailed(
                f"engine {self._folder.path.name}: another command of this home runs with other "
                "settings; end it, or set DELTAWORKS_HOME to another folder for this one"
            )
        fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(POLL_INTERVAL_S)


def join_redis(home: Path) -> Membership:
    """Join the private Redis of `home`; the address is a `unix://` URL in redis-py's form.

    Raises:
        EngineFailed: there is no redis-server, or it did not start.
    """
    socket = redis_socket(engine_folder(home, "redis"))
    return Engine("redis", home, Redis(str(redis_server_binary()), str(socket))).join()


def join_simulator(home: Path) -> Membership:
    """Join the bundled upstream of `home`; the address is `http://127.0.0.1:PORT/v1`.

    Raises:
        EngineFailed: it did not start.
    """
    return Engine("simulator", home, Simulator()).join()


def join_process(
    home: Path,
    name: str,
    argv: Sequence[str],
    env: Mapping[str, str],
    ready_file: Path,
    fingerprint: str = "",
) -> Membership:
    """Join a program of our own, such as an embedded worker; the address is `ready_file`'s path.

    The program is ready when it has created `ready_file`. When the last user leaves it gets
    SIGTERM and must either end or, to finish what it has begun, remove `ready_file` (once) and
    end in its own time: it has a session of its own, and the next user starts another one.

    Args:
        home: as for `Engine`.
        name: as for `Engine`.
        argv: the program and its arguments. They can be seen by every user of the machine:
            secrets belong in `env`.
        env: variables beside those of the command that starts it.
        ready_file: a path only this program uses.
        fingerprint: as for `Engine`.

    Raises:
        EngineFailed: it did not start, or runs with another fingerprint.
    """
    server = Process(tuple(argv), str(ready_file.absolute()))
    return Engine(name, home, server, fingerprint=fingerprint, env=env).join()


def _keeper_environment(added: Mapping[str, str]) -> dict[str, str]:
    """What lets `-m worker…` find this package, and not a folder `worker` where the user stands."""
    environment = {**os.environ, **added, "PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1"}
    root = str(Path(__file__).parents[2])
    # site-packages is found anyway, and before the standard library it could hide parts of it.
    if root != sysconfig.get_path("purelib"):
        searched = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join((root, searched) if searched else (root,))
    return environment
