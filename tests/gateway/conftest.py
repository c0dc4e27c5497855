"""A gateway, a worker and the simulator as real processes, shared by the tests of a module."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import redis
from openai import AsyncOpenAI

from tests.servers import RedisServer
from tests.stack import Reader, Stack, address_of

# Short, so that a test sees in moments what takes seconds in earnest.
QUICK = {
    "DELTAWORKS_HOLD_S": "1",
    "DELTAWORKS_ABANDONED_S": "0.5",
    "DELTAWORKS_HEARTBEAT_S": "1",
    "DELTAWORKS_SWEEP_S": "0.3",
}


@pytest.fixture(scope="module")
def workless(redis_server: RedisServer) -> Iterator[Stack]:
    """A stack with a gateway without keys; its workers are started, and killed, by the tests."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    with tempfile.TemporaryDirectory(prefix="dw-live-") as folder:
        database_url = f"sqlite:///{Path(folder) / 'jobs.db'}"
        with Stack(Path(folder), redis_server.url, database_url) as stack:
            stack.env |= QUICK
            stack.address = address_of(stack.gateway())
            yield stack


@pytest.fixture(scope="module")
def live(workless: Stack) -> Stack:
    """A stack with a worker and a gateway without keys."""
    workless.sweeping_worker()
    return workless


@pytest.fixture
async def reader(workless: Stack) -> AsyncIterator[Reader]:
    """Reads rows and channels of the stack."""
    async with workless.reader() as reader:
        yield reader


@pytest.fixture
async def http(workless: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A plain HTTP client of the gateway."""
    async with httpx.AsyncClient(base_url=workless.address, timeout=60) as client:
        yield client


@pytest.fixture
async def openai(workless: Stack) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client, but for the address as it is delivered."""
    async with AsyncOpenAI(base_url=f"{workless.address}/v1", api_key="unused") as client:
        yield client
