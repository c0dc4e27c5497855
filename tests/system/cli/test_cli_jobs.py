"""What the commands print and how they end, in pipes."""

import json
import os
from pathlib import Path

import pytest

from models import JobState
from tests.commands import COMMAND, Deltaworks, read_errors, read_line
from tests.processes import PATIENCE_S
from tests.stack import text_of
from worker.channel.events import decode

# Each request of a conversation gets another text, so that a splice would show.
RETRIED = "sim?rate=100&tokens=40&vary=1&fault=cut-rst&at=20"
FAST = "sim-fast"
# One stack for the module, not one for each process that runs tests.
pytestmark = pytest.mark.xdist_group("cli-jobs")

LONG = "sim?tokens=5000&rate=100"


def test_a_pipe_gets_exactly_the_saved_text_of_a_retried_job_once(deltaworks: Deltaworks) -> None:
    ended = deltaworks("run", "hello", "--model", RETRIED)
    job = deltaworks("show", ended.stderr.split()[-1], "--json").json()

    assert ended.returncode == 0
    assert ended.stdout == job["output_text"] != ""
    assert "attempt 1 stopped: truncated/" in ended.stderr and "attempt 2 at " in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"completed · {RETRIED} · 40 tokens · ")


def test_json_prints_each_event_as_published_and_then_the_job_object(
    deltaworks: Deltaworks,
) -> None:
    ended = deltaworks("run", "hello", "--model", RETRIED, "--json")
    *lines, last = ended.stdout.splitlines()
    events, job = [decode(line.encode()) for line in lines], json.loads(last)

    kinds = [json.loads(line)["type"] for line in lines]
    assert kinds[0] == "started" and kinds[-1] == "completed" and "retrying" in kinds
    assert text_of(events) == job["output_text"]
    assert job == deltaworks("show", job["id"], "--json").json()


@pytest.mark.parametrize(
    ("arguments", "state", "code"),
    [
        (["--model", FAST], "completed", 0),
        (["--model", "sim-fast?fault=status-400&times=all"], "failed", 1),
        (["--model", FAST, "--param", "max_tokens=3"], "incomplete", 3),
    ],
)
def test_the_exit_code_tells_the_outcome(
    deltaworks: Deltaworks, arguments: list[str], state: str, code: int
) -> None:
    ended = deltaworks("run", "hello", *arguments)
    assert ended.returncode == code
    assert ended.stderr.splitlines()[-1].startswith(state)
    again = deltaworks("follow", ended.stderr.split()[-1], "--json")
    assert again.returncode == code and again.json()["state"] == state


def test_a_failed_job_leaves_a_pipe_empty_and_says_where_its_text_is(
    deltaworks: Deltaworks,
) -> None:
    ended = deltaworks("run", "hi", "--model", "sim-fast?fault=finish-error&at=9&times=all")
    assert ended.returncode == 1 and ended.stdout == ""
    assert "its unproven text: deltaworks show job_" in ended.stderr


def test_submit_prints_the_id_alone_and_follow_streams_from_any_cursor(
    deltaworks: Deltaworks,
) -> None:
    id = deltaworks("submit", "hello", "--model", FAST).stdout.strip()
    assert id.startswith("job_")
    text = deltaworks("follow", id).stdout
    assert text and deltaworks("follow", id, "--after", "1-12").stdout == text[12:]
    end = deltaworks("show", id, "--json").json()["cursor"]
    assert deltaworks("follow", id, "--after", end).stdout == ""


def test_options_become_the_request(deltaworks: Deltaworks, tmp_path: Path) -> None:
    (tmp_path / "prompt").write_text("a prompt\nof two lines\n")
    sent = deltaworks(
        "submit",
        *("--model", "sim-fast", "--file", str(tmp_path / "prompt"), "--lane", "bulk"),
        *("--param", "seed=7", "--param", "stop=END", "--metadata", "run=7", "--json"),
    ).json()
    assert (sent["lane"], sent["metadata"]) == ("bulk", {"run": "7"})
    by_key = [
        deltaworks("submit", "-f", "-", "--idempotency-key", "k", stdin=b"the same").stdout
        for _ in range(2)
    ]
    assert by_key[0] == by_key[1] != ""


def test_a_whole_request_comes_from_a_file(deltaworks: Deltaworks) -> None:
    request = {"request": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}}
    id = deltaworks("submit", "--request", "-", stdin=json.dumps(request).encode()).stdout.strip()
    assert deltaworks("follow", id).returncode == 3


def test_a_running_job_shows_its_text_so_far_and_is_cancelled_once(
    deltaworks: Deltaworks,
) -> None:
    id = deltaworks("submit", "hello", "--model", LONG).stdout.strip()
    with deltaworks.start("follow", id, "--json") as running:
        first = [decode(read_line(running)) for _ in range(10)]
        shown = deltaworks("show", id, "--json").json()
        assert deltaworks("cancel", id).stdout == f"{id} cancelled\n"
        assert deltaworks("cancel", id).returncode == 0
        running.communicate(timeout=PATIENCE_S)  # what it still has to say must not stop it
        assert running.returncode == 4

    assert shown["state"] == JobState.IN_PROGRESS
    assert shown["output_text"].startswith(text_of(first))
    assert shown["cursor"] == f"1-{len(shown['output_text'])}"


def test_a_job_that_has_ended_is_not_cancelled(deltaworks: Deltaworks) -> None:
    id = deltaworks("run", "hello", "--model", FAST).stderr.split()[-1]
    late = deltaworks("cancel", id)
    assert (late.returncode, late.stdout) == (1, f"{id} had already ended: completed\n")


def test_tool_calls_are_json_lines_on_standard_error(deltaworks: Deltaworks) -> None:
    tools = '[{"type": "function", "function": {"name": "weather", "parameters": {}}}]'
    ended = deltaworks("run", "hello", "--model", "sim-tools?rate=0", "--param", f"tools={tools}")
    call = json.loads(ended.stderr.splitlines()[-2])
    assert ended.stdout == "" and call["function"]["name"] == "weather"


def test_show_in_a_pipe_has_a_plain_line_for_each_attempt(deltaworks: Deltaworks) -> None:
    id = deltaworks("run", "hello", "--model", RETRIED).stderr.split()[-1]
    shown = deltaworks("show", id).stdout
    assert "attempt 1, upstream simulator" in shown and "attempt 2, upstream simulator" in shown
    assert "end truncated/" in shown and "│" not in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "PROMPT: is missing"),
        (["keys", "create", "n", "--days", "36501"], "--days: is 36501; give a number above 0 and"),
        (["run", "hi", "--file", "x"], "PROMPT: is given beside --file"),
        (["run", "--file", "/no/file"], "--file: /no/file cannot be read (No such file"),
        (["run", "hi", "--param", "temperature"], "--param: has no name or no value"),
        (["run", "hi", "--param", "temperature=hot"], "request.temperature: is 'hot'"),
        (["run", "hi", "--param", "model=x"], "--param: sets model"),
        (["run", "hi", "--lane", "fast"], "lane: is 'fast'"),
        (["submit", "hi", "--deadline-at", "soon"], "deadline_at: is 'soon'"),
        (["submit", "hi", "--request", "x"], "--request: is a whole job request"),
        (["follow", "job_that_is_not_there"], "no job has the id"),
        (["follow", "job_that_is_not_there", "--after", "x"], "cursor: 'x' is not"),
        (["show", "job_that_is_not_there"], "no job has the id"),
        (["cancel", "job_that_is_not_there"], "no job has the id"),
        (["worker", "--lane", "fast"], "--lane: is 'fast'"),
        (["worker", "--log-level", "loud"], "--log-level: is 'loud'"),
    ],
)
def test_bad_input_is_a_sentence_and_exit_code_2(
    deltaworks: Deltaworks, arguments: list[str], said: str
) -> None:
    ended = deltaworks(*arguments)
    assert ended.returncode == 2 and ended.stdout == ""
    assert said in ended.stderr.splitlines()[-1]


def test_a_cursor_beyond_the_end_is_refused(deltaworks: Deltaworks) -> None:
    id = deltaworks("run", "hello", "--model", FAST).stderr.split()[-1]
    assert deltaworks("follow", id, "--after", "9-9").returncode == 2


def test_a_reader_that_closes_its_pipe_detaches_quietly(deltaworks: Deltaworks) -> None:
    with deltaworks.start("run", "hello", "--model", LONG, "--json") as reader:
        id = json.loads(read_line(reader))["job"]
        assert reader.stdout is not None
        reader.stdout.close()
        assert reader.wait(PATIENCE_S) == 5
        assert read_errors(reader).splitlines()[1:] == []
    assert deltaworks("cancel", id).stdout == f"{id} cancelled\n"


def test_help_answers_without_importing_what_commands_need() -> None:
    heavy = "{'celery', 'httpx', 'msgspec', 'pydantic', 'redis', 'sqlalchemy'}"
    program = f"import sys, worker.cli.commands; sys.exit(repr({heavy} & sys.modules.keys()))"
    with os.popen(f'{COMMAND[0]} -c "{program}" 2>&1') as imported:
        assert imported.read() == "set()\n"


def test_workers_are_shown_and_the_database_is_copied_while_they_work(
    deltaworks: Deltaworks, tmp_path: Path
) -> None:
    (line,) = deltaworks("workers").stdout.splitlines()
    assert line.endswith(", runs, 0 jobs, 450 bulk slots")
    copy = tmp_path / "copy.db"
    made = deltaworks("db", "backup", str(copy))
    assert made.stdout == f"{copy}: {copy.stat().st_size:,} bytes\n"
    assert deltaworks("db", "backup", str(copy)).returncode == 2
