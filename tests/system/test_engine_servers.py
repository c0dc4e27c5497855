"""What an engine can keep: how it is started, refused, restarted and retired."""

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.processes import (
    await_end,
    await_nothing_left,
    eventually,
    keeper_of,
    kill_keeper,
    running,
)
from worker.engines import Engine, Membership, join_process, join_simulator
from worker.engines.servers import Redis, Simulator
from worker.errors import EngineFailed

# An upstream that listens on the port it is given, or on any, for the seconds it is given.
LISTENER = """
import socket, sys, time
port = int(sys.argv[sys.argv.index("--port") + 1])
listener = socket.create_server(("127.0.0.1", port))
print(f"listening http://127.0.0.1:{listener.getsockname()[1]}/v1")
time.sleep(float(sys.argv[1]))
"""

# A worker that retires on SIGTERM and ends, with what it is doing, when the file `finish` is there.
WORKER = """
import os, signal, sys, time
from pathlib import Path
ready, finish = Path(sys.argv[1]), Path(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: ready.unlink())
print(os.environ.get("COLOUR"), flush=True)
ready.write_text("")
while ready.exists() or not finish.exists():
    time.sleep(0.01)
"""


@pytest.fixture
def log(home: Path) -> Path:
    """The log of the simulator or worker engine of `home`, whichever the test starts."""
    return home / "engines" / "stand-in" / "log"


def join_upstream(
    home: Path, program: str = LISTENER, *, lives_s: float = 600, fingerprint: str = ""
) -> Membership:
    """Join an upstream that is the Python source `program`."""
    server = Simulator((sys.executable, "-c", program, str(lives_s), str(home)))
    return Engine("stand-in", home, server, fingerprint=fingerprint).join()


def join_worker(home: Path, fingerprint: str = "") -> Membership:
    """Join the stand-in worker."""
    ready, finish = home / "ready", home / "finish"
    argv = [sys.executable, "-c", WORKER, str(ready), str(finish)]
    return join_process(home, "stand-in", argv, {"COLOUR": "teal"}, ready, fingerprint)


def stand_in_pid(home: Path) -> int:
    """The pid of the stand-in that was started last."""
    return int((home / "engines" / "stand-in" / "server.lock").read_text())


def test_a_server_that_exits_at_once_fails_the_join_with_the_end_of_its_log(
    home: Path,
) -> None:
    with pytest.raises(EngineFailed, match=r"did not start.*\n.*no luck\n.*status 3"):
        join_upstream(home, "import sys; print('no luck'); sys.exit(3)")
    await_nothing_left(home)


def test_a_server_program_that_is_missing_fails_the_join_with_its_name(home: Path) -> None:
    with pytest.raises(EngineFailed, match=r"/no/redis-server cannot be run \(No such file"):
        Engine("redis", home, Redis("/no/redis-server", str(home / "sock"))).join()


def test_a_simulator_that_dies_is_restarted_on_the_port_its_users_know(home: Path) -> None:
    with join_upstream(home) as membership:
        killed = stand_in_pid(home)
        os.kill(killed, signal.SIGKILL)
        await_end(killed)
        with join_upstream(home) as later:
            assert later.address == membership.address
            assert stand_in_pid(home) != killed


def test_the_keeper_gives_up_on_a_server_that_dies_again_and_again(home: Path, log: Path) -> None:
    with join_upstream(home, lives_s=0.2):
        eventually(lambda: "the server died again after 5 restarts" in log.read_text())
        await_nothing_left(home)


def test_the_bundled_simulator_is_reached_at_its_address(home: Path) -> None:
    with join_simulator(home) as membership:
        assert membership.address.startswith("http://127.0.0.1:")
        assert membership.address.endswith("/v1")
    await_nothing_left(home)


def test_a_process_gets_the_environment_of_its_joiner_and_ends_with_the_last_user(
    home: Path, log: Path
) -> None:
    (home / "finish").write_text("")
    with join_worker(home) as membership:
        assert membership.address == str(home / "ready")
        assert log.read_text().startswith("teal\n")
    await_nothing_left(home)
    assert not (home / "ready").exists()


def test_a_process_that_retires_may_finish_while_the_next_user_starts_another(home: Path) -> None:
    with join_worker(home):
        retired = stand_in_pid(home)
        first_keeper = keeper_of(home, "stand-in").pid
    await_end(first_keeper)
    assert running(retired)
    assert os.getsid(retired) == retired
    with join_worker(home):
        assert stand_in_pid(home) != retired
        assert running(retired)
    (home / "finish").write_text("")
    await_nothing_left(home)


def test_a_process_survives_its_killed_keeper_and_is_retired_by_the_next(home: Path) -> None:
    with join_worker(home):
        orphan = stand_in_pid(home)
        kill_keeper(home, "stand-in")
        assert running(orphan)
        (home / "finish").write_text("")
        with join_worker(home):
            assert stand_in_pid(home) != orphan
            await_end(orphan)
    await_nothing_left(home)


def test_other_settings_are_refused_while_somebody_uses_the_first(home: Path) -> None:
    with (
        join_upstream(home, fingerprint="first"),
        pytest.raises(EngineFailed, match=r"runs with other settings; .* DELTAWORKS_HOME"),
    ):
        join_upstream(home, fingerprint="second")
    with join_upstream(home, fingerprint="second"):
        pass
    await_nothing_left(home)


def test_other_settings_wait_for_a_shutdown_in_progress(home: Path) -> None:
    (home / "finish").write_text("")
    for fingerprint in ("first", "second", "first"):
        with join_worker(home, fingerprint):
            kept = home / "engines" / "stand-in" / "fingerprint"
            assert kept.read_text() == f"{fingerprint}\n"
    await_nothing_left(home)
