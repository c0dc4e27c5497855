"""A worker beside what the next version leaves: a schema and messages that it half knows."""

import asyncio
import uuid

import pytest
from celery import Celery
from sqlalchemy import text

from models import schema
from tests.stack import Stack
from tests.upstreams import submitted
from tests.wire import until
from worker.store import Store, connect

# What an expanding migration may do, to every table that a worker writes.
NEXT = (
    "ALTER TABLE jobs ADD COLUMN of_tomorrow VARCHAR(64)",
    "ALTER TABLE jobs ADD COLUMN also INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE attempts ADD COLUMN of_tomorrow VARCHAR(64)",
    "ALTER TABLE processes ADD COLUMN of_tomorrow VARCHAR(64)",
    "CREATE TABLE tomorrow (id VARCHAR(64) PRIMARY KEY)",
    "CREATE INDEX ix_jobs_of_tomorrow ON jobs (of_tomorrow)",
    f"UPDATE alembic_version SET version_num = '{int(schema.HEAD) + 1:04}'",
)


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """PostgreSQL: fleets that are upgraded while they run have one."""
    return postgres_url


async def upgrade_to_tomorrow(stack: Stack) -> None:
    store = Store(connect(stack.env["DELTAWORKS_DATABASE_URL"]), "tomorrow")
    async with store.engine.begin() as connection:
        for statement in NEXT:
            await connection.execute(text(statement))
    await store.aclose()


async def test_a_worker_goes_on_and_starts_anew_under_the_next_version_s_schema(
    stack: Stack,
) -> None:
    running = stack.sweeping_worker()
    async with stack.reader() as reader:
        before = await submitted(stack, reader, "sim?tokens=60&rate=30")
        await until(lambda: is_held(stack, before))
        await upgrade_to_tomorrow(stack)
        during = await submitted(stack, reader, "sim-fast")
        assert {(await reader.end(id))[2].state for id in (before, during)} == {"completed"}
        assert running.stop() == 0 and "ERROR" not in running.printed()

        # One that starts only now does not refuse either, and knows messages by what it needs.
        fresh = stack.sweeping_worker()
        id = await submitted(stack, reader, "sim-fast", lane="bulk")
        app = Celery(broker=stack.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
        later = {"traced": {"by": "tomorrow"}}
        app.send_task("deltaworks.run_job", (id,), later, queue="bulk", headers={"of": "tomorrow"})
        app.send_task("deltaworks.run_rows", ([id],), later, queue="bulk")
        app.send_task("deltaworks.sweep", kwargs=later, queue="deltaworks.sweep")
        app.send_task("deltaworks.of_tomorrow", (id,), queue="bulk")
        task_id = str(uuid.uuid4())
        body = {"model": "sim-fast", "messages": [{"role": "user", "content": "hi"}]}
        app.send_task(
            "deltaworks.submit", ({"request": body, "id": task_id},),
            queue="deltaworks.submit", headers={"of": "tomorrow"},
        )  # fmt: skip
        app.close()
        await until(lambda: reader.exists(task_id))
        assert {(await reader.end(one))[2].state for one in (id, task_id)} == {"completed"}
        # A kind of message that only the next version knows is dropped, told, and stops nobody.
        await asyncio.to_thread(fresh.await_print, "a message was dropped: there is no such task")
        assert fresh.stop() == 0 and "TypeError" not in fresh.printed()


async def is_held(stack: Stack, id: str) -> bool:
    async with stack.reader() as reader:
        return (await reader.store.jobs.get(id)).lease_owner is not None
