"""The truth is copied while the stack is at work, everything is lost, and the copy is started."""

import asyncio
import shutil
import signal
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import make_url, select

from models import Job, JobState, schema
from tests.servers import PostgresServer
from tests.stack import Reader, Stack, ground_truth
from tests.system.test_drain import streaming
from tests.upstreams import submitted
from tests.wire import until
from worker.store import back_up

QUICK = {
    "DELTAWORKS_LEASE_S": "2", "DELTAWORKS_RENEW_S": "0.5", "DELTAWORKS_SWEEP_S": "0.5",
    "DELTAWORKS_GRACE_S": "0",
}  # fmt: skip
STALLED = "sim?tokens=40&rate=0&fault=stall-mid&at=5"  # but not at its second attempt


class Truth:
    """The database of a stack: how it is copied, lost, and restored, as the runbook says."""

    def __init__(self, stack: Stack, server: PostgresServer | None) -> None:
        self.url = make_url(stack.env["DELTAWORKS_DATABASE_URL"])
        self.copy = stack.folder / "copy"
        self._server = server

    def back_up(self) -> None:
        if self._server is None:
            back_up(self.url.render_as_string(), self.copy)
        else:
            self._run("pg_dump", "--format=custom", f"--file={self.copy}", self._libpq())

    def lose(self) -> None:
        if self._server is None:
            for path in Path(self.url.database or "").parent.glob("jobs.db*"):
                path.unlink()
        else:
            self._server.drop_database(self.url.render_as_string())
            self._server.execute(f"CREATE DATABASE {self.url.database}")

    def restore(self) -> None:
        if self._server is None:
            shutil.copy(self.copy, self.url.database or "")
        else:
            self._run("pg_restore", f"--dbname={self._libpq()}", str(self.copy))

    def _libpq(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string()

    def _run(self, program: str, *arguments: str) -> None:
        assert self._server is not None
        command = [str(self._server.binaries / program), *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.fixture
def truth(stack: Stack, request: pytest.FixtureRequest) -> Truth:
    is_sqlite = stack.env["DELTAWORKS_DATABASE_URL"].startswith("sqlite")
    return Truth(stack, None if is_sqlite else request.getfixturevalue("postgres_server"))


async def test_after_a_restore_every_job_of_the_copy_ends_exactly_once(
    stack: Stack, truth: Truth
) -> None:
    worker = stack.sweeping_worker(**QUICK)
    soon = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
    async with stack.reader() as reader:
        ended = [await submitted(stack, reader, "sim-fast") for _ in range(5)]
        for id in ended:
            await reader.end(id)
        before = {id: (await reader.store.jobs.get(id)).output_text for id in ended}
        running = [await submitted(stack, reader, STALLED) for _ in range(5)]
        await asyncio.gather(*(streaming(reader, id) for id in running))
        scheduled = [
            await submitted(stack, reader, "sim-fast", scheduled_at=soon) for _ in range(3)
        ]
        bulk = [await submitted(stack, reader, "sim-fast", lane="bulk", scheduled_at=soon)]
        await asyncio.to_thread(truth.back_up)
        after = [await submitted(stack, reader, "sim-fast")]
        await reader.end(after[0])

    worker.send(signal.SIGKILL)
    await asyncio.to_thread(worker.popen.wait)
    truth.lose()
    with Redis.from_url(stack.env["DELTAWORKS_REDIS_URL"]) as redis:
        redis.flushall()  # channel and broker alike
    truth.restore()
    assert schema.upgrade(stack.env["DELTAWORKS_DATABASE_URL"]) == (schema.HEAD, schema.HEAD)

    stack.sweeping_worker(**QUICK)
    copied = [*ended, *running, *scheduled, *bulk]
    async with stack.reader() as reader:
        await until(lambda: all_ended(reader))
        jobs = {id: await reader.store.jobs.get(id) for id in copied}
        assert not await reader.exists(after[0])  # accepted after the copy: lost with it

    assert {job.state for job in jobs.values()} == {"completed"}
    assert {id: jobs[id].output_text for id in ended} == before
    truths = {(row["job"], row["attempt"]): ground_truth(row) for row in stack.record()}
    assert all(truths[job.id, job.attempt] == job.output_text for job in jobs.values())
    asked = Counter(row["job"] for row in stack.record())
    assert {asked[id] for id in ended} == {1}  # what the copy knows has ended is not run again
    assert {jobs[id].attempt > 1 for id in running} == {True}  # rescued


async def all_ended(reader: Reader) -> bool:
    open_jobs = select(Job.id).where(Job.state.in_([JobState.QUEUED, JobState.IN_PROGRESS]))
    async with reader.store.engine.connect() as connection:
        return (await connection.scalars(open_jobs)).first() is None
