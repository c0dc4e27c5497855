"""An embedded server is one per home, lives while it has users, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import redis

from tests.processes import (
    PATIENCE_S,
    await_end,
    await_nothing_left,
    eventually,
    keeper_of,
    kill_keeper,
    processes_naming,
    running,
)
from worker.engines import join_redis

ROOT = Path(__file__).parents[2]

# A command that uses the engine: says where it is, and leaves when its standard input ends.
USER = """
import sys
from pathlib import Path
from worker.engines import join_redis
with join_redis(Path(sys.argv[1])) as membership:
    print(membership.address, flush=True)
    sys.stdin.read()
"""


class User:
    """A command in a process of its own that has joined, or is about to."""

    def __init__(self, home: Path, cwd: Path = ROOT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", USER, str(home)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )

    def address(self) -> str:
        """Wait until it has joined."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def leave(self) -> None:
        """End it in good order."""
        assert self.process.communicate(timeout=PATIENCE_S)[0] == ""
        assert self.process.returncode == 0

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)


def server_pid(address: str) -> int:
    """The pid of the Redis at `address`."""
    with redis.Redis.from_url(address) as client:
        return int(client.info("server")["process_id"])


def test_two_commands_that_start_at_once_share_one_server(home: Path) -> None:
    first, second = User(home), User(home)
    address = first.address()
    assert second.address() == address
    pid = server_pid(address)
    first.leave()
    assert server_pid(address) == pid
    second.leave()
    await_end(pid)


def test_the_server_ends_when_its_only_user_is_killed(home: Path) -> None:
    user = User(home)
    pid = server_pid(user.address())
    user.kill()
    await_end(pid)
    await_nothing_left(home)


def test_the_server_survives_the_command_that_started_it_while_another_uses_it(home: Path) -> None:
    first, second, third = User(home), User(home), User(home)
    pid = server_pid(first.address())
    for user in (second, third):
        assert user.address()
    first.kill()
    second.leave()
    assert server_pid(join_redis(home).address) == pid
    third.leave()


def test_a_killed_server_is_restarted_at_the_same_address(home: Path) -> None:
    with join_redis(home) as membership:
        killed = server_pid(membership.address)
        os.kill(killed, signal.SIGKILL)
        await_end(killed)
        with join_redis(home) as later:
            assert later.address == membership.address
            assert server_pid(membership.address) != killed
    await_nothing_left(home)


def test_a_killed_keeper_takes_its_server_along_and_the_next_command_starts_both(
    home: Path,
) -> None:
    with join_redis(home) as membership:
        orphan = server_pid(membership.address)
        kill_keeper(home, "redis")
        with join_redis(home) as later:
            assert server_pid(later.address) != orphan
            await_end(orphan)
    await_nothing_left(home)


def test_a_keeper_that_is_terminated_ends_its_server_and_the_next_command_starts_both(
    home: Path,
) -> None:
    with join_redis(home) as membership:
        ended = server_pid(membership.address)
        keeper_of(home, "redis").terminate()
        await_end(ended)
        with join_redis(home) as later:
            assert server_pid(later.address) != ended
    await_nothing_left(home)


def test_a_command_that_joins_during_the_shutdown_waits_and_gets_a_new_server(home: Path) -> None:
    membership = join_redis(home)
    ending = server_pid(membership.address)
    os.kill(ending, signal.SIGSTOP)
    membership.leave()
    eventually(lambda: not (home / "engines" / "redis" / "address").exists())
    latecomer = User(home)
    eventually(lambda: latecomer.process.pid in [p.pid for p in processes_naming(str(home))])
    os.kill(ending, signal.SIGCONT)
    assert server_pid(latecomer.address()) != ending
    assert not running(ending)
    latecomer.leave()
    await_nothing_left(home)


def test_a_server_that_does_not_heed_sigterm_is_killed(home: Path) -> None:
    membership = join_redis(home)
    deaf = server_pid(membership.address)
    os.kill(deaf, signal.SIGSTOP)
    membership.leave()
    await_nothing_left(home)
    await_end(deaf)


def test_a_storm_of_commands_that_join_and_leave_leaves_nothing_running(home: Path) -> None:
    def use(_: int) -> int:
        with join_redis(home) as membership:
            return server_pid(membership.address)

    with ThreadPoolExecutor(20) as storm:
        users = [User(home) for _ in range(20)]
        pids = list(storm.map(use, range(20)))
        for user in users:
            assert server_pid(user.address()) > 0
            user.leave()
    await_nothing_left(home)
    await_end(*pids)


def test_leaving_twice_is_harmless_and_a_membership_nobody_kept_still_counts(home: Path) -> None:
    kept = join_redis(home)
    address = join_redis(home).address
    kept.leave()
    kept.leave()
    assert server_pid(address) > 0


def test_a_folder_named_worker_where_the_user_stands_is_not_run(home: Path) -> None:
    impostor = home / "project" / "worker"
    impostor.mkdir(parents=True)
    (impostor / "__init__.py").write_text("raise SystemExit('not this one')")
    user = User(home, cwd=impostor.parent)
    assert server_pid(user.address()) > 0
    user.leave()
