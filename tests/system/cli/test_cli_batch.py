"""`deltaworks batch`: a file of many jobs, watched, looked up, steered and saved."""

import json
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.commands import COMMAND, Deltaworks, Ended, read_errors, read_line
from tests.processes import PATIENCE_S, await_nothing_left, eventually
from tests.stack import chat

# One stack for the module, not one for each process that runs tests.
pytestmark = pytest.mark.xdist_group("cli-batch")

FAST, LONG = "sim-fast", "sim?tokens=5000&rate=100"
FAILING = "sim-fast?fault=status-400&times=all"


def jsonl(*models: str) -> bytes:
    """A batch's file with a row for each model."""
    rows = [
        {
            "custom_id": f"row {number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": chat(model, f"prompt {number}"),
        }
        for number, model in enumerate(models)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def submitted(deltaworks: Deltaworks, content: bytes, *options: str) -> str:
    """The id of a new batch of this content."""
    ended = deltaworks("batch", "submit", "-", *options, stdin=content)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def status(deltaworks: Deltaworks, id: str) -> Any:
    """The batch object."""
    return deltaworks("batch", "status", id, "--json").json()


def lines_of(ended: Ended) -> list[Any]:
    """The rows on standard output."""
    return [json.loads(line) for line in ended.stdout.splitlines()]


def files_of(home: Path) -> Sequence[Path]:
    """All contents that are stored."""
    return sorted((home / "files").iterdir()) if (home / "files").exists() else []


def test_prompts_with_a_template_become_results_with_nothing_configured(
    home: Path, tmp_path: Path
) -> None:
    deltaworks = Deltaworks(home)
    (tmp_path / "prompts.txt").write_text('one\n\nsay "two" \\ {prompt}\n')
    template = {"messages": [{"role": "user", "content": "Now: {prompt}"}], "max_tokens": 3}
    (tmp_path / "template.json").write_text(json.dumps(template))
    names = str(tmp_path / "prompts.txt"), "--template", str(tmp_path / "template.json")

    ended = deltaworks("batch", "submit", *names, "--model", FAST, "--watch")
    await_nothing_left(home)

    id = ended.stdout.strip()
    assert ended.returncode == 0 and id.startswith("batch_")
    assert "made up by the bundled simulator" in ended.stderr
    assert "completed · 2 of 2 rows completed" in ended.stderr.splitlines()[-1]
    batch = status(deltaworks, id)
    assert (batch["status"], batch["model"]) == ("completed", FAST)
    assert batch["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
    results = lines_of(deltaworks("batch", "results", id))
    assert [row["custom_id"] for row in results] == ["row-1", "row-3"]
    assert {row["response"]["body"]["usage"]["completion_tokens"] for row in results} == {3}


def test_a_batch_that_was_submitted_while_nothing_ran_is_run_by_who_watches_it(
    home: Path, tmp_path: Path
) -> None:
    deltaworks = Deltaworks(home)
    ended = deltaworks("batch", "submit", "-", "-m", FAST, stdin=b"hello\n")
    assert "deltaworks batch watch" in ended.stderr
    await_nothing_left(home)
    told = tmp_path / "told"
    names = " ".join(
        f"$DELTAWORKS_BATCH_{name}" for name in ("ID", "STATUS", "COMPLETED", "FAILED")
    )
    id = ended.stdout.strip()
    watched = deltaworks("batch", "watch", id, "--json", "--on-end", f"echo {names} > {told}")
    assert watched.returncode == 0
    seen = [row["status"] for row in lines_of(watched)]
    assert seen[0] == "validating" and seen[-1] == "completed"
    assert told.read_text() == f"{id} completed 1 0\n"


def test_rows_of_jsonl_may_name_several_models_and_failed_ones_are_told(
    deltaworks: Deltaworks, tmp_path: Path
) -> None:
    (tmp_path / "rows.jsonl").write_bytes(jsonl(FAST, FAILING, "sim-fast?tokens=2"))
    ended = deltaworks(
        "batch", "submit", str(tmp_path / "rows.jsonl"), "--metadata", "run=7", "--watch", "--json"
    )
    batch = ended.json()
    assert ended.returncode == 3
    assert (batch["status"], batch["metadata"], batch["model"]) == ("completed", {"run": "7"}, None)
    assert batch["failures"] == {"bad_request": 1}

    output, errors = tmp_path / "output.jsonl", tmp_path / "errors.jsonl"
    names = "--output", str(output), "--errors", str(errors)
    saved = deltaworks("batch", "results", batch["id"], *names)
    assert (saved.returncode, saved.stdout, saved.stderr) == (0, "", "")
    written = [
        [json.loads(line)["custom_id"] for line in path.read_text().splitlines()]
        for path in (output, errors)
    ]
    assert written == [["row 0", "row 2"], ["row 1"]]
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", output.name, errors.name}

    printed = deltaworks("batch", "results", batch["id"])
    assert len(printed.stdout.splitlines()) == 2
    assert "1 failed row left out: --errors FILE" in printed.stderr
    shown = deltaworks("batch", "status", batch["id"]).stdout
    assert "3 rows: 2 completed, 1 failed" in shown and "1 failed (bad_request 1)" in shown


def test_log_probabilities_of_a_row_stand_in_its_line_and_not_in_its_job(
    deltaworks: Deltaworks,
) -> None:
    with_them, without = (json.loads(row) for row in jsonl(FAST, FAST).splitlines())
    with_them["body"] |= {"logprobs": True, "top_logprobs": 2, "max_tokens": 3}
    content = b"".join(json.dumps(row).encode() + b"\n" for row in (with_them, without))
    ended = deltaworks("batch", "submit", "-", "--watch", stdin=content)
    assert ended.returncode == 0, ended.stderr
    rows = lines_of(deltaworks("batch", "results", ended.stdout.strip()))
    first, second = (row["response"]["body"]["choices"][0] for row in rows)
    tokens = first["logprobs"]["content"]
    assert [len(token["top_logprobs"]) for token in tokens] == [2] * 3
    assert "".join(token["token"] for token in tokens) == first["message"]["content"]
    assert second["logprobs"] is None
    job = deltaworks("show", rows[0]["id"].replace("batch_req_", "job_"), "--json").json()
    assert set(job["output"][0]) == {"index", "role", "content", "finish_reason"}


def test_rows_whose_first_line_is_faulty_are_refused_and_not_run_as_prompts(
    deltaworks: Deltaworks, tmp_path: Path
) -> None:
    rows = tmp_path / "rows"
    rows.write_bytes(jsonl(FAST).replace(b"}}\n", b"}},}\n") + b"\n")
    ended = deltaworks("batch", "submit", str(rows), "--watch")
    assert ended.returncode == 1
    assert "line 1: invalid_json_line" in ended.stderr
    assert status(deltaworks, ended.stdout.strip())["request_counts"]["total"] == 0


def test_what_is_wrong_with_a_file_is_told_by_lines_and_ends_the_watch_with_1(
    deltaworks: Deltaworks,
) -> None:
    faulty = jsonl(FAST) + b"\n{no json\n" + jsonl(FAST) + b'{"custom_id": "\x1b[2J", "body": 1}\n'
    ended = deltaworks("batch", "submit", "-", "--watch", stdin=faulty + b"[]\n" * 30)
    assert ended.returncode == 1
    assert "line 3: invalid_json_line" in ended.stderr
    assert "line 4: duplicate_custom_id: custom_id: is 'row 0' as in line 1" in ended.stderr
    assert "\x1b" not in ended.stderr
    assert len([line for line in ended.stderr.splitlines() if line.startswith("line ")]) == 20
    id = ended.stdout.strip()
    assert f"and 13 more: deltaworks batch status {id} --json" in ended.stderr
    shown = deltaworks("batch", "status", id).stdout
    assert "fault             line 3: invalid_json_line" in shown
    assert len(status(deltaworks, id)["errors"]["data"]) == 33
    results = deltaworks("batch", "results", id)
    assert results.stdout == "" and "its file was refused" in results.stderr


def test_results_are_there_while_the_batch_runs_and_cancelling_it_ends_its_watch_with_4(
    deltaworks: Deltaworks,
) -> None:
    id = submitted(deltaworks, jsonl(FAST, LONG))
    eventually(lambda: status(deltaworks, id)["request_counts"]["completed"] == 1)
    results = deltaworks("batch", "results", id)
    assert [row["custom_id"] for row in lines_of(results)] == ["row 0"]
    assert "the batch is in_progress: 1 of 2 rows so far" in results.stderr

    with deltaworks.start("batch", "watch", id, "--json") as watching:
        assert json.loads(read_line(watching))["status"] == "in_progress"
        cancelled = deltaworks("batch", "cancel", id)
        assert cancelled.returncode == 0 and cancelled.stdout.startswith(f"{id} cancel")
        out, _ = watching.communicate(timeout=PATIENCE_S)
        assert watching.returncode == 4
    assert json.loads(out.splitlines()[-1])["request_counts"]["completed"] == 1
    assert deltaworks("batch", "cancel", id).stdout == f"{id} cancelled\n"


def test_a_paused_batch_says_so_and_goes_on_with_other_limits_when_it_is_resumed(
    deltaworks: Deltaworks,
) -> None:
    # Its window opens in two hours: nothing of it runs meanwhile.
    opens, closes = (datetime.now(UTC) + timedelta(hours=each) for each in (2, 3))
    window = f"{opens:%H:%M}-{closes:%H:%M}"
    id = submitted(deltaworks, jsonl(FAST), "--run-window", window, "--priority", "-5")
    eventually(lambda: status(deltaworks, id)["status"] == "in_progress")
    assert "outside its run window, which opens" in deltaworks("batch", "status", id).stdout

    assert deltaworks("batch", "pause", id).stdout == f"{id} paused\n"
    assert "paused (requested)" in deltaworks("batch", "status", id[:-3]).stdout
    listed = deltaworks("batch", "list", "--json").json()
    assert [each["paused"]["reason"] for each in listed if each["id"] == id] == ["requested"]
    assert f"batch {id}, " in deltaworks("batch", "list").stdout

    resumed = deltaworks("batch", "resume", id, "--max-failed-ratio", "0.5", "--json").json()
    assert (resumed["paused"], resumed["max_failed_ratio"], resumed["priority"]) == (None, 0.5, -5)
    assert deltaworks("batch", "cancel", id, "--json").returncode == 0


def test_failed_rows_are_run_again_in_a_new_batch_whose_results_count(
    deltaworks: Deltaworks,
) -> None:
    fails_once = "sim-fast?fault=status-400&times=1&key=once"
    id = submitted(deltaworks, jsonl(FAST, fails_once))
    assert deltaworks("batch", "watch", id).returncode == 3
    wrong = deltaworks("batch", "retry", id, "--category", "bad luck")
    assert wrong.returncode == 2 and "holds 'bad luck'; use rate_limit" in wrong.stderr

    child = deltaworks("batch", "retry", id, "--category", "bad_request").stdout.strip()
    assert deltaworks("batch", "watch", child).returncode == 0
    assert status(deltaworks, child)["retry_of"] == id
    merged = deltaworks("batch", "results", id)
    assert [row["custom_id"] for row in lines_of(merged)] == ["row 0", "row 1"]
    assert merged.stderr == ""
    over = deltaworks("batch", "cancel", id)
    assert over.returncode == 2 and "nothing is left to cancel" in over.stderr


def test_a_terminal_shows_a_bar_and_ctrl_c_detaches(deltaworks: Deltaworks) -> None:
    id = submitted(deltaworks, jsonl(FAST, FAILING, LONG))
    with deltaworks.on_terminal("batch", "watch", id) as terminal:
        terminal.await_shown("2/3 rows")
        terminal.press_ctrl_c()
        assert terminal.end() == 5
    shown = terminal.shown().replace("\n", "")
    assert "━" in shown and "running" in shown and "1 failed" in shown
    assert f"deltaworks batch watch {id}" in shown
    assert deltaworks("batch", "cancel", id).returncode == 0
    with deltaworks.on_terminal("batch", "watch", id) as terminal:
        assert terminal.end() == 4
    assert "cancelled · 1 of 3 rows completed" in terminal.shown()


def test_sigterm_detaches_from_a_batch_in_a_pipe(deltaworks: Deltaworks) -> None:
    id = submitted(deltaworks, jsonl(LONG))
    with deltaworks.start("batch", "watch", id, "--json") as watching:
        read_line(watching)
        watching.terminate()
        assert watching.wait(PATIENCE_S) == 5
        assert f"deltaworks batch watch {id}" in read_errors(watching)
    assert deltaworks("batch", "cancel", id).returncode == 0


def test_who_watches_a_batch_that_no_worker_reads_is_told(home: Path, redis_url: str) -> None:
    deltaworks = Deltaworks(home, DELTAWORKS_REDIS_URL=redis_url)
    id = submitted(deltaworks, b"hello\n", "--model", FAST)
    with deltaworks.start("batch", "watch", id) as watching:
        assert watching.stderr is not None
        assert watching.stderr.readline() == b"validating\n"
        assert b"no worker has read the file yet" in watching.stderr.readline()
        watching.send_signal(signal.SIGINT)
        assert watching.wait(PATIENCE_S) == 5
        assert f"the batch goes on: deltaworks batch watch {id}" in read_errors(watching)


def test_the_command_for_the_end_changes_no_exit_code(deltaworks: Deltaworks) -> None:
    id = submitted(deltaworks, b"hello\n", "--model", FAST)
    # It may be a command of ours, in a home whose worker runs.
    another = " ".join([*COMMAND, "run", "hello", "--model", FAST])
    ended = deltaworks("batch", "watch", id, "--on-end", f"{another} && exit 7")
    assert ended.returncode == 0 and ended.stdout.startswith("[simulated]")
    assert "--on-end ended with 7" in ended.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--param", "temperature=hot"], "body.temperature: in the first row: is 'hot'"),
        (["--param", "temperature"], "--param: has no name or no value"),
        (["--param", "model=x"], "--param: sets model"),
        (["--metadata", "x"], "--metadata: has no name or no value"),
        (["--endpoint", "/v1/embeddings"], "endpoint: is '/v1/embeddings', which is not supported"),
        (["--completion-window", "soon"], "completion_window: is 'soon'"),
        (["--run-window", "always"], "run_window: is 'always'"),
        (["--priority", "101"], "priority: is 101"),
        (["--max-cost", "0"], "--max-cost: is 0; give a number above 0"),
        (["--max-cost", "inf"], "--max-cost: is inf"),
        (["--max-cost", "1"], "has no price at simulator, and the batch has max_cost"),
        (["--max-failed-ratio", "2"], "--max-failed-ratio: is 2"),
        (["--webhook", "https://example.org"], "webhook: cannot be signed here"),
        (["--template", "/no/file"], "--template: /no/file cannot be read"),
        (["--template", __file__], "--template: is no request body"),
        (["--template", __file__, "--system", "x"], "--system: is given beside --template"),
        (["--text", "--jsonl"], "--text: is given beside --jsonl"),
    ],
)
def test_bad_options_are_a_sentence_and_leave_nothing_stored(
    deltaworks: Deltaworks, options: list[str], said: str
) -> None:
    before = files_of(deltaworks.home)
    ended = deltaworks("batch", "submit", "-", *options, stdin=b"hello\n", DELTAWORKS_MODEL=FAST)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr.splitlines()[-1]
    assert files_of(deltaworks.home) == before


def test_a_content_whose_batch_cannot_be_created_is_removed_again(
    home: Path, tmp_path: Path
) -> None:
    # A folder is no database: the options are valid, and the content is stored first.
    database_url = f"sqlite:///{tmp_path}"
    with_stack = Deltaworks(home, DELTAWORKS_DATABASE_URL=database_url)
    ended = with_stack("batch", "submit", "-", "--model", FAST, stdin=b"hello\n")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (home / "files").exists() and files_of(home) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "batch_that_is_not_there"], "no batch has the id"),
        (["watch", "batch_that_is_not_there"], "no batch has the id"),
        (["results", "batch_that_is_not_there"], "no batch has the id"),
        (["report", "batch_that_is_not_there"], "no batch has the id"),
        (["pause", "batch_"], "no batch has the id"),
        (["cancel", ""], "no batch has the id"),
        (["retry", "batch_that_is_not_there"], "no batch has the id"),
        (["resume", "x", "--max-cost", "-1"], "--max-cost: is -1; give a number above 0"),
        (["resume", "x", "--max-failed-ratio", "nan"], "--max-failed-ratio: is nan"),
        (["results", "x", "--errors", "-"], "--errors: is where the output goes"),
        (["submit", "/no/file"], "FILE: /no/file cannot be read (No such file"),
        (["submit", "-"], "FILE: is empty"),
    ],
)
def test_bad_arguments_are_a_sentence_and_exit_code_2(
    deltaworks: Deltaworks, arguments: list[str], said: str
) -> None:
    ended = deltaworks("batch", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert said in ended.stderr.splitlines()[-1]


def test_an_abbreviated_id_that_several_batches_have_is_refused(deltaworks: Deltaworks) -> None:
    ids = [submitted(deltaworks, b"hello\n", "--model", FAST) for _ in range(2)]
    shared = ids[0][:12]
    assert ids[1].startswith(shared)
    ended = deltaworks("batch", "cancel", shared)
    assert ended.returncode == 2 and "give more of it" in ended.stderr


def test_results_that_cannot_be_written_leave_what_was_there(
    deltaworks: Deltaworks, tmp_path: Path
) -> None:
    id = submitted(deltaworks, b"hello\n", "--model", FAST)
    assert deltaworks("batch", "watch", id).returncode == 0
    missing = str(tmp_path / "missing" / "out")
    ended = deltaworks("batch", "results", id, "--output", missing)
    assert ended.returncode == 2 and "--output: " in ended.stderr
    (tmp_path / "link").symlink_to(tmp_path / "file")
    assert deltaworks("batch", "results", id, "--output", str(tmp_path / "link")).returncode == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "file").read_text()
