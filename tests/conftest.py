"""Servers that many tests share, and a home for those that start their own."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from tests.processes import kill_processes_naming
from tests.servers import PostgresServer, RedisServer

pytest_plugins = ["tests.faults.figures"]

# Machines are shared: how long an example takes says nothing about it.
settings.register_profile("shared", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared")


@pytest.fixture
def home() -> Iterator[Path]:
    """A home for embedded engines: its path is short enough for a socket, and no process whose
    command line names it survives the test.
    """
    path = Path(tempfile.mkdtemp(prefix="dw-", dir="/tmp"))
    yield path
    kill_processes_naming(str(path))
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's Redis; a test that stops or kills one starts its own."""
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty Redis."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The session's PostgreSQL; a test that stops one starts its own."""
    # Not below pytest's own folder: that is closed to the account the server runs under.
    folder = Path(tempfile.mkdtemp(prefix="dw-pg-"))
    with PostgresServer(folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The SQLAlchemy URL (psycopg) of a database that is empty and this test's alone."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)
