"""With nothing configured a command starts what it needs, and leaves nothing behind but its job."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.commands import ROOT, Deltaworks, read_errors, read_line
from tests.processes import PATIENCE_S, await_nothing_left, processes_naming


def test_run_starts_everything_and_nothing_is_left(home: Path) -> None:
    ended = Deltaworks(home)("run", "hello", "--model", "sim-fast")
    assert ended.returncode == 0 and ended.stdout.startswith("[simulated]")
    assert "made up by the bundled simulator" in ended.stderr
    await_nothing_left(home)


def test_a_job_whose_reader_is_killed_comes_to_its_end_in_the_retired_worker(home: Path) -> None:
    deltaworks = Deltaworks(home)
    with deltaworks.start("run", "hello", "-m", "sim?tokens=200&rate=100", "--json") as reader:
        id = json.loads(read_line(reader))["job"]
        assert json.loads(read_line(reader))["type"] == "delta"
        reader.kill()
    await_nothing_left(home)
    job = deltaworks("show", id, "--json").json()
    assert (job["state"], job["attempt"]) == ("completed", 1)


def test_a_reader_that_leaves_before_the_worker_is_there_waits_until_the_job_has_begun(
    home: Path,
) -> None:
    deltaworks = Deltaworks(home)
    with deltaworks.start("run", "hello", "--model", "sim?tokens=100&rate=100") as reader:
        assert reader.stderr is not None
        assert b"made up" in reader.stderr.readline()
        reader.terminate()
        code, said = reader.wait(PATIENCE_S), read_errors(reader)
    await_nothing_left(home)
    # Before the job is submitted, SIGTERM simply ends the command.
    if code == 5:
        id = said.partition("follow ")[2].split()[0]
        assert deltaworks("show", id, "--json").json()["state"] == "completed"
    else:
        assert code == -15


def test_a_job_that_was_submitted_while_nothing_ran_is_run_by_its_follower(home: Path) -> None:
    deltaworks = Deltaworks(home)
    submitted = deltaworks("submit", "hello", "--model", "sim-fast")
    assert "deltaworks up" in submitted.stderr
    await_nothing_left(home)
    followed = deltaworks("follow", submitted.stdout.strip())
    assert followed.returncode == 0 and followed.stdout.startswith("[simulated]")


def test_two_commands_share_a_worker_and_other_settings_are_refused(home: Path) -> None:
    deltaworks = Deltaworks(home)
    with deltaworks.start("run", "hello", "-m", "sim?tokens=2000&rate=10", "--json") as first:
        id = json.loads(read_line(first))["job"]
        assert deltaworks("run", "hello", "--model", "sim-fast").returncode == 0
        assert deltaworks("run", "hello", DELTAWORKS_MODEL="sim-fast").returncode == 0
        for_clients = {"DELTAWORKS_BASE_URL": "http://localhost:1", "DELTAWORKS_API_KEY": "dw_x"}
        beside = Deltaworks(home, **for_clients)
        assert beside("run", "hello", "--model", "sim-fast").returncode == 0
        workers = processes_naming(f"{home}/engines/worker/ready")
        assert len([p for p in workers if "worker.cli" in p.cmdline()]) == 1
        other = deltaworks("run", "hello", "--model", "sim-fast", DELTAWORKS_STREAMS="7")
        assert (other.returncode, other.stdout) == (1, "")
        assert "runs with other settings" in other.stderr
        assert deltaworks("cancel", id).returncode == 0
        first.communicate(timeout=PATIENCE_S)  # what it still has to say must not stop it
        assert first.returncode == 4


def test_many_commands_at_once_in_a_new_home_all_get_their_answer(home: Path) -> None:
    deltaworks = Deltaworks(home)
    with ThreadPoolExecutor(4) as shells:
        prompts = [f"prompt {number}" for number in range(4)]
        ended = list(
            shells.map(lambda prompt: deltaworks("run", prompt, "-m", "sim-fast"), prompts)
        )
    assert [each.returncode for each in ended] == [0, 0, 0, 0], ended
    assert len({each.stdout for each in ended}) == 4


def test_the_demo_keeps_its_promises_and_leaves_nothing_running(home: Path) -> None:
    env = {**Deltaworks(home).env, "OPENAI_API_KEY": "sk-not-to-be-spent"}
    ended = subprocess.run(
        [sys.executable, str(ROOT / "ops" / "demo.py")],
        env=env,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count("✓") == 5
    assert "rate_limit, then answered" in ended.stdout
    assert "truncated, then answered" in ended.stdout
    await_nothing_left(home)
