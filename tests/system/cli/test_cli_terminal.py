"""What people see on a terminal, and what their Ctrl-C does."""

import pytest

from tests.commands import Deltaworks
from tests.processes import PATIENCE_S
from worker.cli.screen import printable

# One stack for the module, not one for each process that runs tests.
pytestmark = pytest.mark.xdist_group("cli-terminal")

LONG = "sim?tokens=5000&rate=100"


def id_in(shown: str) -> str:
    """The job's id in the last line that names one."""
    return next(word for word in reversed(shown.split()) if word.startswith("job_"))


def test_text_is_shown_as_it_comes_and_reasoning_with_it(deltaworks: Deltaworks) -> None:
    model = "sim-reasoning?reasoning=10&tokens=300&rate=100"
    with deltaworks.on_terminal("run", "hello", "--model", model) as terminal:
        terminal.await_shown("attempt 1 at simulator")
        terminal.await_shown("[simulated]")
        assert "completed" not in terminal.shown()
        assert terminal.end() == 0
    assert f"completed · {model} · 310 tokens" in terminal.shown().replace("\n", "")


def test_the_text_of_an_attempt_that_is_retried_is_marked_as_void(deltaworks: Deltaworks) -> None:
    model = "sim?rate=100&tokens=40&vary=1&fault=cut-rst&at=20"
    with deltaworks.on_terminal("run", "hello", "--model", model) as terminal:
        assert terminal.end() == 0
    shown = terminal.shown()
    first, void, second = shown.partition("the text above is void")
    assert "attempt 1 at simulator" in first and "[simulated]" in first and void
    assert "attempt 1 stopped: truncated/" in second and "[simulated]" in second
    saved = deltaworks("show", id_in(shown), "--json").json()["output_text"]
    assert "".join(saved.split()) in "".join(second.split())


def test_ctrl_c_detaches_and_the_job_goes_on_from_where_the_reader_left(
    deltaworks: Deltaworks,
) -> None:
    with deltaworks.on_terminal("run", "hello", "-m", "sim?tokens=300&rate=100") as terminal:
        terminal.await_shown("[simulated]")
        terminal.press_ctrl_c()
        assert terminal.end() == 5
    shown = terminal.shown()
    assert "Ctrl-C again within 2 s cancels the job" in shown
    command = shown.replace("\n", "").partition("deltaworks follow ")[2].split()
    id, after = command[0], command[2]

    rest = deltaworks("follow", id, "--after", after)
    saved = deltaworks("show", id, "--json").json()
    assert rest.returncode == 0
    assert saved["output_text"][int(after.partition("-")[2]) :] == rest.stdout != ""


def test_a_second_ctrl_c_cancels_the_job(deltaworks: Deltaworks) -> None:
    with deltaworks.on_terminal("run", "hello", "--model", LONG) as terminal:
        terminal.await_shown("[simulated]")
        terminal.press_ctrl_c()
        terminal.await_shown("Ctrl-C again")
        terminal.press_ctrl_c()
        assert terminal.end() == 4
    assert deltaworks("show", id_in(terminal.shown()), "--json").json()["state"] == "cancelled"


def test_sigterm_detaches_at_once(deltaworks: Deltaworks) -> None:
    with deltaworks.on_terminal("run", "hello", "--model", LONG) as terminal:
        terminal.await_shown("[simulated]")
        terminal.popen.terminate()
        assert terminal.popen.wait(PATIENCE_S) == 5
        assert terminal.end() == 5
    assert "detached; the job goes on" in terminal.shown()
    assert "Ctrl-C" not in terminal.shown()
    assert deltaworks("cancel", terminal.shown().partition("follow ")[2].split()[0])


def test_other_choices_come_after_the_first_with_a_heading(deltaworks: Deltaworks) -> None:
    with deltaworks.on_terminal("run", "hi", "-m", "sim-fast?tokens=5", "-p", "n=2") as terminal:
        assert terminal.end() == 0
    shown = terminal.shown()
    assert shown.index("[simulated]") < shown.index("choice 1") < shown.rindex("[simulated]")


def test_show_has_a_table_of_attempts(deltaworks: Deltaworks) -> None:
    id = deltaworks("run", "hello", "--model", "sim-fast").stderr.split()[-1]
    with deltaworks.on_terminal("show", id) as terminal:
        assert terminal.end() == 0
    assert "│ attempt" in terminal.shown().replace("┃", "│")


def test_what_a_model_writes_cannot_steer_the_terminal() -> None:
    assert printable("a\x1b]0;title\x07b\r\nc\td\x9b2J") == "a\ufffd]0;title\ufffdb\nc\td\ufffd2J"
