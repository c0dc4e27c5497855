"""One stack for all these tests, and both clients of its gateway."""

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.clients import AnyClient, Connect, ConnectBoth, InThreads
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


KINDS: dict[str, Connect] = {
    "Client": lambda *args, **options: InThreads(Client(*args, **options)),
    "AsyncClient": AsyncClient,
}


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    """What the test opens is closed behind it."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture(params=KINDS)
def connect(request: pytest.FixtureRequest, closing: AsyncExitStack) -> Connect:
    """Makes clients, of each kind in turn."""
    return lambda *args, **options: opened(closing, KINDS[request.param](*args, **options))


@pytest.fixture
def connect_both(closing: AsyncExitStack) -> ConnectBoth:
    """Makes a client of each kind."""
    return lambda *args, **options: [
        opened(closing, kind(*args, **options)) for kind in KINDS.values()
    ]


def opened(closing: AsyncExitStack, client: AnyClient) -> AnyClient:
    """The client, which is closed behind the test."""
    closing.push_async_callback(client.aclose)
    return client


@pytest.fixture
def client(connect: Connect, address: str) -> AnyClient:
    """A client of that gateway."""
    return connect(address)
