"""The ways in besides the command line: a Celery message by name, and Python."""

import os
import pickle
import subprocess
import sys
import uuid
from functools import partial
from pathlib import Path

import pytest
from celery import Celery
from kombu import Connection, Exchange, Producer
from redis.asyncio import Redis

import worker
from tests.stack import ROOT, Stack, chat, ground_truth
from tests.wire import until

# What another team's service does: nothing of ours is imported, only Celery and the broker's URL.
SENDER = """
import sys
from celery import Celery
app = Celery(broker=sys.argv[1])
body = {"model": "sim?tokens=20&rate=0", "messages": [{"role": "user", "content": sys.argv[3]}]}
job = {"request": body, "id": sys.argv[2], "metadata": {"from": "billing"}}
app.send_task("deltaworks.submit", args=[job], queue="deltaworks.submit")
"""

CANARY_PROMPT = "canary-prompt-5e0c"
CANARY_KEY = "sk-canary-key-0123456789"


def send_as_stranger(stack: Stack, id: str, prompt: str) -> None:
    """Queue a prompt from a process that has only Celery."""
    broker = stack.env["DELTAWORKS_REDIS_URL"]
    command = [sys.executable, "-c", SENDER, broker, id, prompt]
    subprocess.run(command, check=True, timeout=30, cwd=stack.folder)


def send(stack: Stack, document: object, task_id: str) -> None:
    """Queue any document."""
    app = Celery(broker=stack.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
    app.send_task("deltaworks.submit", args=[document], task_id=task_id, queue="deltaworks.submit")
    app.close()


async def test_a_service_with_only_celery_queues_a_prompt_under_its_own_id(stack: Stack) -> None:
    id = f"billing-{uuid.uuid4()}"
    send_as_stranger(stack, id, "hello")
    stack.worker()
    async with stack.reader() as reader:
        await until(lambda: reader.exists(id))
        text, _, job = await reader.end(id)

    assert job.state == "completed" and job.labels == {"from": "billing"}
    assert text == job.output_text == ground_truth(stack.record()[0])


async def test_a_message_that_comes_again_is_the_same_job(stack: Stack) -> None:
    stack.worker()
    id = f"again-{uuid.uuid4()}"
    async with stack.reader() as reader:
        for _ in range(3):
            send_as_stranger(stack, id, "hello")
        await until(lambda: reader.exists(id))
        await reader.end(id)
        send_as_stranger(stack, id, "another request under the same id")
        marker = f"marker-{uuid.uuid4()}"
        send_as_stranger(stack, marker, "hello")
        await until(lambda: reader.exists(marker))
        await reader.end(marker)
        job = await reader.store.jobs.get(id)

    assert job.request["messages"] == [{"role": "user", "content": "hello"}]
    assert len([each for each in stack.record() if each["job"] == id]) == 1


async def test_an_invalid_message_becomes_a_failed_job_that_says_why(stack: Stack) -> None:
    stack.worker()
    id = str(uuid.uuid4())
    send(stack, {"request": chat("sim", stream="true")}, id)
    async with stack.reader() as reader:
        await until(lambda: reader.exists(id))
        _, end, job = await reader.end(id)

    assert (job.state, job.error_category, job.attempt) == ("failed", "bad_request", 1)
    assert job.error_message and job.error_message.startswith("request.stream: is 'true'; give")
    assert end.id == "1-1"
    assert not stack.record()


async def test_garbage_in_the_queue_harms_nobody(stack: Stack) -> None:
    running = stack.worker()
    broker = stack.env["DELTAWORKS_REDIS_URL"]
    garbage: list[object] = [None, 7, [], "x", {"id": "short"}, {"id": 5, "request": {}}]
    for document in garbage:
        send(stack, document, "no")
    with Connection(broker) as connection:
        producer = Producer(connection, Exchange("deltaworks.submit"), "deltaworks.submit")
        producer.publish(
            pickle.dumps({"os": "command"}),
            content_type="application/x-python-serialize",
            content_encoding="binary",
            headers={"task": "deltaworks.submit", "id": str(uuid.uuid4()), "lang": "py"},
        )
    id = str(uuid.uuid4())
    send_as_stranger(stack, id, "hello")
    async with stack.reader() as reader:
        await until(lambda: reader.exists(id))
        _, _, job = await reader.end(id)
    running.await_print("ERROR a message was dropped: its task is malformed")

    assert job.state == "completed"
    assert running.popen.poll() is None


async def test_neither_prompts_nor_keys_are_logged_or_left_in_redis(stack: Stack) -> None:
    running = stack.worker("-l", "debug")
    ok, bad = f"canary-{uuid.uuid4()}", f"canary-{uuid.uuid4()}"
    send_as_stranger(stack, ok, CANARY_PROMPT)
    send(stack, {"request": chat("sim", CANARY_PROMPT, n=0)}, bad)
    send(stack, {"request": chat("sim?fault=auth-required", CANARY_PROMPT)}, str(uuid.uuid4()))
    async with stack.reader() as reader:
        for id in (ok, bad):
            await until(partial(reader.exists, id))
            await reader.end(id)
        left = await _everything_in(reader.redis)

    assert stack.record()[0]["authorized"]
    running.stop()
    for secret in (CANARY_PROMPT, CANARY_KEY):
        assert secret not in running.printed()
        assert secret.encode() not in left


async def _everything_in(redis: Redis) -> bytes:
    keys = [key async for key in redis.scan_iter()]
    dumps = [await redis.dump(key) or b"" for key in keys]
    return b"".join(keys + dumps)


def test_submit_queues_from_a_program_without_an_event_loop(stack: Stack, tmp_path: Path) -> None:
    stack.worker()
    program = tmp_path / "program.py"
    program.write_text(
        "import asyncio, sys\n"
        "from worker import connect, submit\n"
        "job = submit({'model': 'sim?tokens=5&rate=0',"
        " 'messages': [{'role': 'user', 'content': 'hi'}]}, metadata={'k': 'v'})\n"
        "assert job['state'] == 'queued' and job['metadata'] == {'k': 'v'}\n"
        "async def main():\n"
        "    async with connect() as deltaworks:\n"
        "        async for event in deltaworks.follow(job['id']):\n"
        "            pass\n"
        "        done = await deltaworks.get(job['id'])\n"
        "        assert done['state'] == 'completed', done\n"
        "        assert done['cursor'] == event.id\n"
        "        again = await deltaworks.cancel(job['id'])\n"
        "        assert again['state'] == 'completed'\n"
        "asyncio.run(main())\n"
    )
    env = {**os.environ, **stack.env, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(program)],
        env=env,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_exported_names_are_these() -> None:
    assert sorted(worker.__all__) == [
        "Conflict",
        "Deltaworks",
        "DeltaworksError",
        "InvalidCursor",
        "InvalidRequest",
        "JobNotFound",
        "connect",
        "submit",
    ]
    assert all(getattr(worker, name) for name in worker.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = worker.nothing
