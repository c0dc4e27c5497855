"""One stack for all these tests, and both clients of its gateway."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.clients import AnyClient, Connect, InThreads
from tests.servers import RedisServer
from tests.stack import Stack, address_of
from worker.client import AsyncClient, Client


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Redis, SQLite, the simulator, a worker; with a Redis of its own, as others empty theirs."""
    with (
        RedisServer(tmp_path_factory.mktemp("redis")) as redis,
        tempfile.TemporaryDirectory(prefix="dw-stack-") as folder,
        Stack(Path(folder), redis.url, f"sqlite:///{folder}/jobs.db") as stack,
    ):
        stack.worker()
        yield stack


@pytest.fixture(scope="session")
def address(stack: Stack) -> str:
    """A gateway that lets everybody in, and that no test harms."""
    return address_of(stack.gateway())


@pytest.fixture(params=["Client", "AsyncClient"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """Makes clients of each kind in turn; closes them."""
    async with AsyncExitStack() as stack:

        def make(*args: Any, **options: Any) -> AnyClient:
            client: AnyClient
            if request.param == "Client":
                client = InThreads(Client(*args, **options))
            else:
                client = AsyncClient(*args, **options)
            stack.push_async_callback(client.aclose)
            return client

        yield make


@pytest.fixture
def client(connect: Connect, address: str) -> AnyClient:
    """A client of that gateway."""
    return connect(address)
