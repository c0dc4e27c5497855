"""Lines for programs: JSON, one for each transition with its fields, never a prompt or a key."""

import asyncio
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stack import Stack, chat
from tests.upstream_server import serving
from worker.logs.records import formatter, json_line, text_line
from worker.logs.withheld import Withheld

PROMPT, WORDS = "canary-prompt-5d2e", "canary-upstream-words-9b7f"
DONE = b'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n'


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """What is logged is the same with each database."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"


def lines_of(printed: str) -> list[dict[str, Any]]:
    """The lines; Celery's farewell goes to standard output, which is in the same log here."""
    lines = [line for line in printed.splitlines() if line and not line.startswith("worker: ")]
    return [json.loads(line) for line in lines]


async def test_each_transition_is_one_line_of_json_with_its_fields_and_no_secret(
    stack: Stack,
) -> None:
    refusal = json.dumps({"error": {"message": WORDS, "code": "server_error", "type": WORDS}})
    answers = iter([500, 200, 500, 401])

    async def answer(writer: asyncio.StreamWriter) -> None:
        status = next(answers, 401)
        if status == 200:
            head, body = "content-type: text/event-stream", DONE + b"data: [DONE]\n\n"
        else:
            head, body = "content-type: application/json", refusal.encode()
        head = f"HTTP/1.1 {status} X\r\n{head}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)

    options = {"DELTAWORKS_LOG_FORMAT": "json", "DELTAWORKS_LOG_LEVEL": "debug"}
    async with serving(answer) as upstream, stack.reader() as reader:
        options["OPENAI_BASE_URL"] = f"http://127.0.0.1:{upstream.port}/v1"
        worker = await asyncio.to_thread(stack.sweeping_worker, **options)
        gateway = await asyncio.to_thread(stack.gateway, **options)
        address = lines_of(gateway.printed())[-1]["event"].removeprefix("listening on ")
        async with httpx.AsyncClient(base_url=address) as client:
            jobs = []
            for _ in range(2):
                sent = {"request": chat("any", PROMPT)}
                job = (await client.post("/v1/jobs", json=sent)).json()["id"]
                await reader.end(job)
                jobs.append(job)
        assert await asyncio.to_thread(worker.stop) == 0
        assert await asyncio.to_thread(gateway.stop) == 0

    lines = lines_of(worker.printed())
    assert all({"time", "level", "event"} <= line.keys() for line in lines)
    told = {job: [line for line in lines if line.get("job") == job] for job in jobs}
    well, ill = told.values()
    assert [line["event"] for line in well] == [
        "claimed", "started", "retrying", "started", "settled",
    ]  # fmt: skip
    _, _, retrying, _, settled = well
    assert (retrying["attempt"], retrying["level"], retrying["upstream"]) == (
        1,
        "info",
        "127.0.0.1",
    )
    assert (retrying["category"], retrying["code"]) == ("server", "server_error")
    assert retrying["status"] == 500 and retrying["wait_s"] > 0 and retrying["attempt_s"] >= 0
    assert (settled["attempt"], settled["state"], settled["lane"]) == (
        2,
        "completed",
        "interactive",
    )
    assert settled["total_s"] >= settled["attempt_s"] >= settled["first_delta_s"] >= 0
    assert (ill[-1]["event"], ill[-1]["state"], ill[-1]["category"]) == (
        "settled",
        "failed",
        "auth",
    )
    submitted = [line for line in lines_of(gateway.printed()) if line["event"] == "submitted"]
    assert [line["job"] for line in submitted] == jobs
    for secret in (PROMPT, WORDS, "canary-key"):
        assert secret not in worker.printed() + gateway.printed()


async def test_celerys_own_command_prints_the_same_lines(stack: Stack) -> None:
    log = stack.folder / "celery.log"
    command = ("-m", "celery", "-A", "worker.app", "worker", "-l", "info", "-f", str(log))
    worker = stack.start("worker", *command, DELTAWORKS_LOG_FORMAT="json")
    while " ready." not in (log.read_text() if log.exists() else ""):
        assert worker.popen.poll() is None, worker.printed()
        await asyncio.sleep(0.02)
    assert worker.stop() == 0
    assert any(line["logger"] == "celery.apps.worker" for line in lines_of(log.read_text()))


@pytest.mark.parametrize("line", [json_line, text_line])
def test_a_traceback_is_places_and_no_words(line: Callable[..., str]) -> None:
    def ask(prompt: str) -> None:
        try:
            raise ConnectionResetError(104, "Connection reset by peer", prompt)
        except OSError as error:
            raise ValueError(f"cannot send {prompt}") from error

    try:
        ask(PROMPT)
    except ValueError as error:
        raised = error
    exc_info = (ValueError, raised, raised.__traceback__)
    record = logging.LogRecord(
        "worker.x", logging.ERROR, __file__, 1, "job %s: failed\nso", ("job_1",), exc_info
    )
    printed = formatter(line).format(record)
    assert PROMPT not in printed and "\n" not in printed and "Traceback" not in printed
    assert "ValueError at " in printed and "test_logs.py" in printed and " ask" in printed
    assert "from ConnectionResetError (Connection reset by peer) at " in printed
    if line is json_line:
        assert json.loads(printed)["job"] == "job_1"


def test_what_libraries_quote_is_not_repeated() -> None:
    raised = ValueError(PROMPT)
    exc_info = (ValueError, raised, None)
    failure = {"name": "deltaworks.run_job", "exc": f"ValueError('{PROMPT}')"}
    task = ("celery.app.trace", "Task %(name)s raised unexpected: %(exc)s", (failure,))
    future = ("asyncio", f"Task exception was never retrieved\nfuture: <Task {raised!r}>", ())
    callback = ("asyncio", f"Exception in callback send({PROMPT!r})\nhandle: <Handle>", ())
    for name, message, arguments in (task, future, callback):
        record = logging.LogRecord(name, logging.ERROR, __file__, 1, message, arguments, exc_info)
        assert Withheld().filter(record)
        printed = formatter(json_line).format(record)
        assert PROMPT not in printed and json.loads(printed)["exception"] == "ValueError"
