"""The stack of real processes that most system tests run against."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stack import Stack


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def stack(redis_url: str, database_url: str) -> Iterator[Stack]:
    """Redis, a database with the schema, and the simulator; workers are started by the test."""
    with (
        tempfile.TemporaryDirectory(prefix="dw-stack-") as folder,
        Stack(Path(folder), redis_url, database_url) as stack,
    ):
        yield stack
