"""Webhooks from real processes: told at once, whoever dies, and no secret in a log."""

import ssl
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from sqlalchemy import update

from models import Job
from tests.receiver import HANGS, SECRET, receiving
from tests.servers import RedisServer
from tests.stack import Reader, Stack, chat
from tests.wire import until
from worker.catalog import simulated
from worker.settings import Settings
from worker.submission import Submission

PROMPT = "canary-prompt-71d0"
SETTINGS = {"DELTAWORKS_WEBHOOK_SECRET": SECRET, "DELTAWORKS_WEBHOOK_PRIVATE": "true"}
# No sweep comes in time: what is told is told by the process in which the job ended.
NO_SWEEP = {"DELTAWORKS_SWEEP_S": "3600"}


@pytest.fixture(scope="module")
def stack(redis_server: RedisServer) -> Iterator[Stack]:
    """One stack for these tests, with SQLite."""
    with tempfile.TemporaryDirectory(prefix="dw-stack-") as folder:
        database_url = f"sqlite:///{folder}/jobs.db"
        with Stack(Path(folder), redis_server.url, database_url) as stack:
            stack.env |= SETTINGS
            yield stack


async def submitted(stack: Stack, reader: Reader, model: str, webhook: str) -> str:
    """Submit as the gateway does, and return the job's id."""
    settings = Settings(webhook_secret=SECRET, webhook_private=True)
    known = simulated(stack.base_url)
    submission = Submission(
        reader.store.jobs, reader.log, stack.wake, stack.dispatch, known, settings
    )
    body = chat(model, PROMPT)
    job = await submission.submit({"request": body, "webhook": webhook})
    return job.id


async def is_done(reader: Reader, id: str) -> bool:
    return (await reader.store.jobs.get(id)).webhook_due_at is None


async def test_the_process_that_ends_a_job_tells_it_at_once_over_tls(stack: Stack) -> None:
    authority, tls = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    trusted = stack.folder / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    worker = stack.worker(SSL_CERT_FILE=str(trusted), **NO_SWEEP)
    async with receiving(tls=tls) as receiver, stack.reader() as reader:
        url = f"https://localhost:{receiver.port}/hook?token=canary-query"
        id = await submitted(stack, reader, "sim?tokens=20&rate=0", url)
        await until(lambda: is_done(reader, id))
        job = await reader.store.jobs.get(id)
    worker.stop()
    (event,) = receiver.events()
    assert (event["type"], event["data"]["id"]) == ("job.completed", id)
    assert event["data"]["output_text"] == job.output_text != ""
    assert PROMPT not in str(event)
    printed = worker.printed()
    assert f"job {id}: its webhook was delivered: 204" in printed
    for secret in ("canary", "/hook", SECRET, SECRET.removeprefix("whsec_"), job.output_text):
        assert secret and secret not in printed


async def test_a_worker_that_is_killed_while_it_tells_is_no_loss(stack: Stack) -> None:
    dying = stack.worker(**NO_SWEEP)
    async with receiving(HANGS) as receiver, stack.reader() as reader:
        id = await submitted(stack, reader, "sim?tokens=5&rate=0", receiver.url)
        await until(lambda: receiver.received)
        dying.kill()
        job = await reader.store.jobs.get(id)
        assert (job.state, job.webhook_tries) == ("completed", 1)
        assert job.webhook_due_at is not None and job.webhook_due_at > datetime.now(UTC)
        past = datetime.now(UTC) - timedelta(seconds=1)
        async with reader.store.engine.begin() as connection:
            await connection.execute(update(Job).where(Job.id == id).values(webhook_due_at=past))
        # A job that nobody runs ends as well, and its end is told by the sweep.
        cancelled = await submitted(stack, reader, "sim", receiver.url)
        await stack.cancel(reader, cancelled)
        sweeping = stack.sweeping_worker(DELTAWORKS_SWEEP_S="0.2")
        await until(lambda: is_done(reader, id))
        await until(lambda: is_done(reader, cancelled))
        sweeping.stop()
    first, *others = receiver.events()
    assert (first["id"], first["type"]) == (f"evt_{id}", "job.completed")
    told = {event["id"]: event["type"] for event in others}
    assert told == {f"evt_{id}": "job.completed", f"evt_{cancelled}": "job.cancelled"}
    assert first in others
