"""`deltaworks policy` shows the table and explains an error, to people and to programs."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from worker.cli.policy import app
from worker.errors import Category, ConfigurationError, InvalidRequest

COMMAND = [sys.executable, "-c", "from worker.cli.policy import app; app()"]


def run(*arguments: str, file: Path | None = None, stdin: str = "") -> str:
    variables = {"DELTAWORKS_POLICY_FILE": str(file) if file else ""}
    result = CliRunner().invoke(app, arguments, input=stdin, env=variables)
    if result.exception is not None:
        raise result.exception
    return result.stdout


def test_a_pipe_gets_a_line_for_each_row() -> None:
    lines = run("show").splitlines()
    assert [line.split()[0] for line in lines] == list(Category)
    assert "base_s=1 cap_s=60 " in lines[0]
    assert lines[0].count("(the packaged table, line ") == 1


def test_a_terminal_of_eighty_columns_gets_a_table() -> None:
    leader, follower = pty.openpty()
    variables = {**os.environ, "COLUMNS": "80", "TERM": "dumb", "DELTAWORKS_POLICY_FILE": ""}
    with subprocess.Popen([*COMMAND, "show"], stdout=follower, env=variables) as process:
        os.close(follower)
        shown = b""
        while piece := read(leader):
            shown += piece
    os.close(leader)
    lines = shown.decode().split("\r\n")
    assert process.returncode == 0
    assert len(lines) == len(Category) + 2
    assert lines[1].split() == [
        "rate_limit", "retry", "1-60", "s", "20", "throttles", "model", lines[1].split()[-1],
    ]  # fmt: skip
    assert max(map(len, lines)) <= 80


def read(terminal: int) -> bytes:
    """What a terminal shows next; nothing at its end, which Linux reports as an error."""
    try:
        return os.read(terminal, 65_536)
    except OSError:
        return b""


def test_programs_get_rows_with_the_origin_of_every_term(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server.code.502]\nmost = 1\n")
    rows = json.loads(run("show", "--json", file=file))
    (row,) = [row for row in rows if row["code"] == "502"]
    assert (row["category"], row["most"], row["cap_s"]) == ("server", 1, 20.0)
    assert row["sources"]["most"] == {
        "file": str(file), "table": ["server", "code", "502"], "line": 2,
    }  # fmt: skip


def test_an_explanation_tells_wait_charge_cool_down_fallback_and_row() -> None:
    body = '{"error": {"code": "slow_down", "message": "Slow down."}}'
    said = run(
        "explain", "--status", "429", "--body", body, "--header", "Retry-After: 20",
        "--throttles", "3",
    ).splitlines()  # fmt: skip
    assert said[:-1] == [
        "rate_limit (code slow_down, status 429): Slow down.",
        "The job is retried after 20 to 24 s: it named 20 s. "
        "If that reaches past its deadline, the job fails with this error.",
        "The retry takes 0 from the fleet's retry budget, "
        "and 1 from the job's throttles (3 before, at most 20).",
        "Cool-down for this key and model from the first error on, "
        "until the wait is over that the upstream named.",
        "Another upstream that serves the model may not take the job.",
    ]
    assert said[-1].startswith("Row [rate_limit]: the packaged table, line ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["401"], "The upstream is suspended for this key, all models: no job uses it for 900 s."),
        (["401"], "Without another upstream the job fails with this error."),
        (["401", "--lane", "bulk"], "The job goes back to the queue, and is charged nothing."),
        (["429", "--lane", "bulk"], "and 1 from the job's throttles (0 before, without limit)."),
        (["500"], "Cool-down for this key and model after 1 such error in 60 s out of at least"),
        (["500", "--failures", "5"], "as often as it may (failures: 5 before, at most 5)."),
        (["529"], "Cool-down for this key and model after 2 such errors in 10 s, for 5 to 30 s."),
        (["529"], "Another upstream that serves the model may take the job."),
        (["404"], "The job fails with this error: such errors are not retried."),
        (["500", "--header", "x-should-retry:false"], "asks by x-should-retry not to try again."),
        (["403", "--host", "api.together.xyz"], "context_length (no code, status 403)"),
        (["500", "--header", "retry-after:90000"], "no job uses it for 86400 s."),
    ],
)
def test_each_part_of_a_decision_has_its_sentence(arguments: list[str], sentence: str) -> None:
    assert sentence in run("explain", "--status", *arguments)


def test_an_explanation_names_what_a_users_file_contributed(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\ncap_s = 25.0\n\n[server.code.boom]\nmost = 1\n")
    said = run(
        "explain", "--status", "500", "--body", '{"error": {"code": "boom"}}', file=file
    ).splitlines()
    assert f"Row [server.code.boom]: {file}, line 4." in said
    assert f"cap_s = 25.0: [server] of {file}, line 2." in said


def test_an_explanation_of_a_row_that_counts_nothing_says_so(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[server]\ncounts = "nothing"\n')
    said = run("explain", "--status", "500", "--failures", "9", file=file)
    assert "The job is retried after 0 to 20 s: " in said
    assert "and is charged to no budget of the job's." in said


def test_programs_get_an_explanation_as_an_object() -> None:
    body = '{"error": {"code": "insufficient_quota"}}'
    document = json.loads(run("explain", "--status", "429", "--body", body, "--json"))
    assert (document["category"], document["decision"]) == ("billing", "suspend")
    assert document["suspension"] == {"scope": "key", "for_s": 900.0}
    assert (document["wait_s"], document["budget"], document["budget_cost"]) == (None, None, 0)


def test_a_body_can_be_piped_in() -> None:
    said = run("explain", "--status", "400", "--body", "-", stdin='{"error": {"code": "x_y"}}')
    assert said.startswith("bad_request (code x_y, status 400)")


def test_a_message_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in run("explain", "--status", "500", "--body", "\x1b[2Jgone")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lane", "slow"], "--lane: is 'slow'; use interactive or bulk"),
        (["--header", "retry-after"], "--header: is 'retry-after', which has no name and value"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        run("explain", "--status", "500", *arguments)


def test_a_faulty_file_is_refused_by_both_commands(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[servr]")
    for arguments in (["show"], ["explain", "--status", "500"]):
        with pytest.raises(ConfigurationError, match="did you mean server"):
            run(*arguments, file=file)
