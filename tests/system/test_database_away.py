"""A worker whose database goes away: what was streamed is saved when it is back, or run again."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.commands import Deltaworks
from tests.proxy import Proxy
from tests.stack import Process, Reader, Stack, ground_truth, text_of
from tests.upstreams import submitted
from tests.wire import until
from worker.channel.events import Delta, Retrying

LEASE_S = 4.0
SETTINGS = {
    "DELTAWORKS_LEASE_S": str(LEASE_S),
    "DELTAWORKS_RENEW_S": "0.5",
    "DELTAWORKS_SWEEP_S": "0.3",
}
SHORT = "sim?tokens=60&rate=60"  # one second
LONG = "sim?tokens=160&rate=20&vary=1"  # eight seconds


@pytest.fixture
async def away(redis_url: str, postgres_url: str) -> AsyncIterator[tuple[Stack, Proxy]]:
    """A stack whose workers reach PostgreSQL by a way that can be closed."""
    with tempfile.TemporaryDirectory(prefix="dw-stack-") as folder:
        stack = await asyncio.to_thread(Stack, Path(folder), redis_url, postgres_url)
        with stack:
            async with Proxy(postgres_url) as proxy:
                yield stack, proxy


async def worker(stack: Stack, proxy: Proxy) -> Process:
    # In a thread, because the proxy lives on this loop.
    return await asyncio.to_thread(
        stack.sweeping_worker, DELTAWORKS_DATABASE_URL=proxy.url, **SETTINGS
    )


@asynccontextmanager
async def cut_off(reader: Reader, proxy: Proxy, id: str) -> AsyncIterator[None]:
    """From the job's first delta on the worker has no database."""
    async for event in reader.follower.follow(id):
        if isinstance(event, Delta):
            break
    await proxy.down()
    yield
    await proxy.up()


def spooled(stack: Stack) -> list[Path]:
    return list((stack.folder / "home" / "spool").glob("*/*.json"))


async def test_what_ended_while_the_database_was_away_is_saved_when_it_is_back(
    away: tuple[Stack, Proxy],
) -> None:
    stack, proxy = away
    await worker(stack, proxy)
    async with stack.reader() as reader:
        ids = [await submitted(stack, reader, SHORT) for _ in range(3)]
        reading = [asyncio.create_task(reader.events(id)) for id in ids]
        async with cut_off(reader, proxy, ids[0]):
            await until(lambda: len(spooled(stack)) == 3)
            jobs = await reader.store.jobs.many(ids)
            assert {job.state for job in jobs.values()} == {"in_progress"}
        events = await asyncio.wait_for(asyncio.gather(*reading), 20)
        jobs = await reader.store.jobs.many(ids)

    served = {each["job"]: ground_truth(each) for each in stack.record()}
    assert len(stack.record()) == 3
    for id, seen in zip(ids, events, strict=True):
        assert (jobs[id].state, jobs[id].attempt) == ("completed", 1)
        assert text_of(seen) == jobs[id].output_text == served[id]
    await until(lambda: not spooled(stack))


async def test_the_next_process_saves_what_a_killed_one_has_spooled(
    away: tuple[Stack, Proxy],
) -> None:
    stack, proxy = away
    first = await worker(stack, proxy)
    async with stack.reader() as reader:
        id = await submitted(stack, reader, SHORT)
        reading = asyncio.create_task(reader.events(id))
        async with cut_off(reader, proxy, id):
            await until(lambda: spooled(stack))
            await asyncio.to_thread(first.kill)
        await worker(stack, proxy)
        text = text_of(await asyncio.wait_for(reading, 20))
        job = await reader.store.jobs.get(id)

    (served,) = stack.record()
    assert (job.state, job.attempt) == ("completed", 1)
    assert text == job.output_text == ground_truth(served)


async def test_a_stream_that_outlasts_its_lease_is_stopped_and_run_again(
    away: tuple[Stack, Proxy],
) -> None:
    stack, proxy = away
    process = await worker(stack, proxy)
    async with stack.reader() as reader:
        id = await submitted(stack, reader, LONG)
        reading = asyncio.create_task(reader.events(id))
        async with cut_off(reader, proxy, id):
            await until(lambda: f"job {id}: lost at attempt 1" in process.printed())
        events = await asyncio.wait_for(reading, 40)
        job = await reader.store.jobs.get(id)

    first, second = stack.record()
    assert first["job"] == second["job"] == id
    assert [each.reason for each in events if isinstance(each, Retrying)] == ["lost"]
    assert (job.state, job.attempt) == ("completed", 3)
    assert text_of(events) == job.output_text == ground_truth(second) != ground_truth(first)


def test_a_command_without_its_database_names_the_setting(home: Path, redis_url: str) -> None:
    command = Deltaworks(
        home,
        DELTAWORKS_DATABASE_URL="postgresql://postgres:secret@127.0.0.1:1/jobs",
        DELTAWORKS_REDIS_URL=redis_url,
        OPENAI_API_KEY="sk-canary",
    )
    ended = command("submit", "hello")
    assert ended.returncode == 1
    assert "DELTAWORKS_DATABASE_URL" in ended.stderr
    assert "secret" not in ended.stderr
