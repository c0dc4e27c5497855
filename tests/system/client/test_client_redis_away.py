"""A reader comes back while Redis is away: the database knows the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import httpx
import pytest

from tests.jobs import claimed, ended
from tests.servers import RedisServer
from tests.stack import Stack, address_of
from worker.client import AsyncClient, Completed, Delta
from worker.store import Store
from worker.store import connect as connect_store


@pytest.fixture
async def rows(tmp_path: Path) -> AsyncIterator[tuple[Store, str]]:
    """A database in which a test is the worker, and a gateway whose Redis has just died."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    with RedisServer(tmp_path) as redis, Stack(tmp_path, redis.url, url) as stack:
        gateway = await asyncio.to_thread(stack.gateway, DELTAWORKS_SILENCE_S="0.2")
        redis.kill()
        store = Store(connect_store(url), "us")
        yield store, address_of(gateway)
        await store.aclose()


async def test_a_cursor_in_a_job_that_runs_goes_on_without_redis(rows: tuple[Store, str]) -> None:
    store, address = rows
    job = await claimed(store)
    answered = asyncio.Event()

    async def answer(_: httpx.Response) -> None:
        answered.set()

    async with (
        httpx.AsyncClient(event_hooks={"response": [answer]}) as http,
        AsyncClient(address, http=http, patience_s=0) as client,
        aclosing(client.follow(job.id, "1-5")) as following,
    ):
        first = asyncio.ensure_future(anext(following))
        await answered.wait()
        await store.holds.settle(ended(job, "Hello world"), None)
        delta, end = [await first, *[event async for event in following]]

    assert isinstance(delta, Delta) and (delta.at, delta.text) == (5, " world")
    assert isinstance(end, Completed) and end.length == 11
