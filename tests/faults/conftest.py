"""A scene for each fault: servers of its own, which it may stop, kill and wipe."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.figures import as_property
from tests.faults.scene import Scene, scene
from tests.servers import PostgresServer

SEED = "DELTAWORKS_FAULTS_SEED"


@pytest.fixture
def seed() -> int:
    """The test's seed: from the environment, to see a failure again, else a new one."""
    return int(os.environ.get(SEED) or secrets.randbelow(1_000_000))


@pytest.fixture(scope="session")
def mortal_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for tests that stop it; each leaves it running."""
    folder = Path(tempfile.mkdtemp(prefix="dw-pg-"))
    with PostgresServer(folder) as server:
        yield server
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def on_postgres(
    mortal_postgres: PostgresServer, seed: int, request: pytest.FixtureRequest
) -> Iterator[Scene]:
    """A scene over PostgreSQL."""
    url = mortal_postgres.create_database()
    with tempfile.TemporaryDirectory(prefix="dw-fault-") as folder:  # noqa: SIM117
        with scene(Path(folder), url, seed) as found:
            yield found
            request.node.user_properties.append(as_property(found.figures))
    mortal_postgres.drop_database(url)


@pytest.fixture
def on_sqlite(seed: int, request: pytest.FixtureRequest) -> Iterator[Scene]:
    """A scene over SQLite."""
    with tempfile.TemporaryDirectory(prefix="dw-fault-") as folder:
        url = f"sqlite:///{Path(folder) / 'jobs.db'}"
        with scene(Path(folder), url, seed) as found:
            yield found
            request.node.user_properties.append(as_property(found.figures))
