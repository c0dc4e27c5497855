"""The store on both databases, and a Redis client, for tests against real servers."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest
from redis.asyncio import Redis

from models import Base, schema
from tests.proxy import Proxy
from tests.servers import PostgresServer, RedisServer
from tests.streams import following, publishing
from worker.channel.follow import Follower
from worker.channel.log import Log
from worker.channel.publisher import Publisher
from worker.store import Store, connect

OpenStore = Callable[[str], Store]


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file, to be copied."""
    file = tmp_path_factory.mktemp("sqlite") / "template.db"
    schema.upgrade(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="session")
def migrated_postgres(postgres_server: PostgresServer) -> str:
    """A migrated PostgreSQL database that the session's tests empty for themselves."""
    url = postgres_server.create_database()
    schema.upgrade(url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """The name of a database; a test that uses it runs on both."""
    name: str = request.param
    return name


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A migrated database that is empty and this test's alone."""
    if backend == "sqlite":
        template = request.getfixturevalue("sqlite_template")
        return f"sqlite:///{shutil.copy(template, tmp_path / 'jobs.db')}"
    url: str = request.getfixturevalue("migrated_postgres")
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute(f"TRUNCATE {', '.join(Base.metadata.tables)}")
    return url


@pytest.fixture
async def open_store(database_url: str) -> AsyncIterator[OpenStore]:
    """Opens the store as another process would, under an owner's name."""
    async with AsyncExitStack() as stack:

        def open_as(owner: str) -> Store:
            store = Store(connect(database_url), owner)
            stack.push_async_callback(store.aclose)
            return store

        yield open_as


@pytest.fixture
def store(open_store: OpenStore) -> Store:
    """The store of the process `us`."""
    return open_store("us")


@pytest.fixture
async def rows(sqlite_template: Path, tmp_path: Path) -> AsyncIterator[Store]:
    """A store for tests that are about something else; SQLite, because it is at hand."""
    file = shutil.copy(sqlite_template, tmp_path / "rows.db")
    store = Store(connect(f"sqlite:///{file}"), "us")
    yield store
    await store.aclose()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    async with Redis.from_url(redis_url, protocol=2) as client:
        yield client


@pytest.fixture
def log(redis: Redis) -> Log:
    """The logs in that Redis."""
    return Log(redis)


@pytest.fixture
def private_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that this test may stop, kill and wipe."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
async def follower(redis: Redis, rows: Store) -> AsyncIterator[Follower]:
    """A follower that asks the database after 0.2 s of silence."""
    async with following(redis, rows, 0.2) as follower:
        yield follower


@pytest.fixture
async def publisher(redis: Redis) -> AsyncIterator[Publisher]:
    """A publisher that runs."""
    async with publishing(redis) as publisher:
        yield publisher


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[Proxy]:
    """The way to a PostgreSQL database of this test's own."""
    await asyncio.to_thread(schema.upgrade, postgres_url)
    async with Proxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def us(proxy: Proxy) -> AsyncIterator[Store]:
    """The store of a process that goes by the proxy."""
    store = Store(connect(proxy.url), "us")
    yield store
    await store.aclose()


@pytest.fixture
async def them(proxy: Proxy, postgres_url: str) -> AsyncIterator[Store]:
    """The store of a process whose way is always open."""
    store = Store(connect(postgres_url), "them")
    yield store
    await store.aclose()
