"""The processes and the checks: what they refuse at start, and what they log and never log."""

import os
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Exchange, Producer

from tests.commands import Deltaworks
from tests.processes import await_nothing_left, eventually
from tests.stack import Stack, chat
from tests.wire import until

CANARY = "canary-prompt-77f3"


def send(broker: str, task: str, *args: object, **kwargs: object) -> None:
    """Send a task as a stranger does."""
    app = Celery(broker=broker, set_as_current=False)
    app.send_task(task, args=args, kwargs=kwargs, queue="deltaworks.submit")
    app.close()


def publish(broker: str, body: object, **properties: Any) -> None:
    """Put any message into the queue that strangers send to."""
    with Connection(broker) as connection:
        producer = Producer(connection, Exchange("deltaworks.submit"), "deltaworks.submit")
        producer.publish(body, **properties)


async def test_no_prompt_is_logged_whatever_is_wrong_with_its_message(stack: Stack) -> None:
    worker = stack.start("worker", "-m", "worker.cli", "worker", "--beat", "--log-level", "debug")
    worker.await_print("ready: ")
    broker = stack.env["DELTAWORKS_REDIS_URL"]
    send(broker, "no.such.task", CANARY)
    send(broker, "deltaworks.submit", CANARY, **{CANARY: CANARY})
    send(broker, "deltaworks.submit", {"request": chat("sim", CANARY, n=0)})
    publish(broker, {"neither": CANARY})
    publish(broker, {"task": "deltaworks.submit", "id": "x", "args": CANARY, "kwargs": CANARY})
    task = {"task": "deltaworks.submit", "id": str(uuid.uuid4()), "argsrepr": CANARY}
    json_type: dict[str, Any] = {"content_type": "application/json", "content_encoding": "utf-8"}
    publish(broker, f'["{CANARY}'.encode(), headers=task, **json_type)
    publish(broker, CANARY.encode() + b"\xff", headers=task, **json_type)

    id = str(uuid.uuid4())
    send(broker, "deltaworks.submit", {"id": id, "request": chat("sim?tokens=5", CANARY)})
    async with stack.reader() as reader:
        await until(lambda: reader.exists(id))
        _, _, job = await reader.end(id)
    assert job.state == "completed"
    for reason in ("it is no task", "there is no such task", "it cannot be decoded"):
        worker.await_print(f"a message was dropped: {reason}")
    assert worker.stop() == 0
    assert CANARY not in worker.printed()


def test_the_default_log_has_no_line_for_each_request_and_message(stack: Stack) -> None:
    worker = stack.start("worker", "-m", "worker.cli", "worker")
    worker.await_print("ready: 500 streams, interactive and bulk")
    deltaworks = Deltaworks(Path(stack.env["DELTAWORKS_HOME"]), **stack.env)
    assert deltaworks("run", "hello", "--model", "sim-fast").returncode == 0
    assert worker.stop() == 0
    printed = worker.printed()
    assert ": completed at attempt 1" in printed
    assert not [word for word in ("HTTP Request", "received", "succeeded") if word in printed]


def test_a_worker_refuses_what_does_not_work_before_it_takes_a_job(
    home: Path, redis_url: str, postgres_url: str
) -> None:
    deltaworks = Deltaworks(home, DELTAWORKS_REDIS_URL=redis_url)
    outdated = deltaworks("worker", DELTAWORKS_DATABASE_URL=postgres_url)
    assert outdated.returncode == 2
    assert outdated.stderr.splitlines()[-1].endswith("run: deltaworks db upgrade")
    clash = deltaworks("worker", DELTAWORKS_RENEW_S="20")
    assert clash.returncode == 2 and "DELTAWORKS_RENEW_S=20" in clash.stderr
    away = deltaworks("worker", DELTAWORKS_DATABASE_URL="postgresql://me:secret@127.0.0.1:1/x")
    assert away.returncode == 1 and "secret" not in away.stderr
    assert "the database cannot be used" in away.stderr


@pytest.mark.parametrize("kind", ["database_url", "postgres_url"])
def test_db_upgrade_says_from_where_to_where(
    home: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    deltaworks = Deltaworks(home, DELTAWORKS_DATABASE_URL=request.getfixturevalue(kind))
    first, second = deltaworks("db", "upgrade", "--json").json(), deltaworks("db", "upgrade")
    assert first["before"] is None
    assert second.stdout == f"the schema is up to date: revision {first['after']}\n"


def test_doctor_finds_nothing_wrong_where_nothing_is_configured(home: Path) -> None:
    deltaworks = Deltaworks(home)
    ended = deltaworks("doctor", "--json", "--ask", "simulator")
    assert ended.returncode == 0 and ended.json()["ok"]
    names = [finding["name"] for finding in ended.json()["findings"]]
    assert names == [
        "versions", "settings", "files", "redis", "broker", "database", "clocks", "upstream",
        "storage", "webhooks", "workers", "sweep", "answer",
    ]  # fmt: skip
    await_nothing_left(home)


def test_doctor_names_each_fault_and_its_remedy(home: Path, stack: Stack, tmp_path: Path) -> None:
    upstreams = tmp_path / "upstreams.toml"
    upstreams.write_text(
        '[[upstream]]\nname = "keyless"\nbase_url = "http://127.0.0.1:9/v1"\n'
        'api_key_env = "NOT_SET"\nmodels = ["a"]\n'
        '[[upstream]]\nname = "away"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["b"]\n'
    )
    env = {**stack.env, "DELTAWORKS_UPSTREAMS_FILE": str(upstreams)}
    env["DELTAWORKS_FILES_URL"] = "s3://no-such-bucket"  # its package is not installed
    ended = Deltaworks(home, **env)("doctor")
    assert ended.returncode == 1
    lines = ended.stdout.splitlines()
    assert "fail upstream   keyless at http://127.0.0.1:9/v1" in lines
    assert any("api_key_env names NOT_SET, which is not set" in line for line in lines)
    assert any(line.startswith("fail upstream   away at ") for line in lines)
    assert any(line.startswith("warn workers    0 answer") for line in lines)
    assert any(line.startswith("fail storage    DELTAWORKS_FILES_URL: s3://") for line in lines)

    gone = Deltaworks(home, DELTAWORKS_REDIS_URL="redis://:secret@127.0.0.1:1/0")("doctor")
    assert gone.returncode == 1 and "secret" not in gone.stdout + gone.stderr
    assert any(line.startswith("fail redis ") for line in gone.stdout.splitlines())


def test_a_model_must_be_named_where_the_upstream_has_several(home: Path, stack: Stack) -> None:
    deltaworks = Deltaworks(home, **stack.env)
    several = deltaworks("submit", "hello")
    assert several.returncode == 2
    assert "--model: is missing; name one, such as sim, sim-fast" in several.stderr
    chosen = deltaworks("submit", "hello", "--json", DELTAWORKS_MODEL="sim-fast")
    assert chosen.json()["model"] == "sim-fast"


def test_a_run_that_no_worker_takes_says_so(home: Path, stack: Stack) -> None:
    deltaworks = Deltaworks(home, **stack.env)
    with deltaworks.on_terminal("run", "hello", "--model", "sim-fast") as terminal:
        terminal.await_shown("no worker has taken the job yet")
        worker = stack.start("worker", "-m", "worker.cli", "worker", "--lane", "interactive")
        worker.await_print("ready: 500 streams, interactive")
        assert terminal.end() == 0


def test_beat_ticks_for_a_worker_that_does_not(stack: Stack) -> None:
    ticked = stack.folder / "ticked"
    beat = stack.start(
        "beat", "-m", "worker.cli", "beat", "--ready-file", str(ticked), DELTAWORKS_SWEEP_S="0.2"
    )
    beat.await_print("ticking every 0.2 s")
    eventually(ticked.exists)
    first_tick = ticked.stat().st_mtime_ns
    ready = stack.folder / "ready"
    worker = stack.start("worker", "-m", "worker.cli", "worker", "--ready-file", str(ready))
    eventually(ready.exists)
    deltaworks = Deltaworks(Path(stack.env["DELTAWORKS_HOME"]), **stack.env)
    due = (datetime.now(UTC) + timedelta(seconds=2)).isoformat()
    sent = deltaworks("submit", "hi", "-m", "sim-fast", "--scheduled-at", due)
    assert deltaworks("follow", sent.stdout.strip()).returncode == 0
    assert ticked.stat().st_mtime_ns > first_tick
    os.utime(ready, (0, 0))
    eventually(lambda: ready.stat().st_mtime > 0)  # as long as its loop turns
    assert beat.stop() == 0 and worker.stop() == 0
    assert not ready.exists() and not list(stack.folder.glob("celerybeat*"))


def test_simulator_lists_its_faults(home: Path) -> None:
    listed = Deltaworks(home)("simulator", "--faults")
    assert listed.returncode == 0 and "cut-rst " in listed.stdout
