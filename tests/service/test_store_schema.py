"""The schema: migrated from nothing, twice or by many at once, and just what the models say."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

import models
from models import Base, schema
from tests.jobs import claimed, queue
from tests.servers import PostgresServer
from worker.errors import ConfigurationError, SchemaOutdated
from worker.store import Store, connect, require_schema

UPGRADE = "import sys; from models import schema; print(*schema.upgrade(sys.argv[1]))"


@pytest.fixture
def empty_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database without a table."""
    if backend == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


async def test_an_empty_database_is_migrated_and_works(empty_url: str) -> None:
    assert await asyncio.to_thread(schema.upgrade, empty_url) == (None, schema.HEAD)
    store = Store(connect(empty_url), "us")
    await require_schema(store.engine)
    assert (await claimed(store, await queue(store))).attempt == 1
    await store.aclose()


def test_a_second_upgrade_does_nothing(empty_url: str) -> None:
    schema.upgrade(empty_url)
    assert schema.upgrade(empty_url) == (schema.HEAD, schema.HEAD)


def test_upgrades_of_several_processes_at_once_take_turns(empty_url: str) -> None:
    command = [sys.executable, "-c", UPGRADE, empty_url]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert said.split()[-1] == schema.HEAD, said


async def test_the_models_are_what_the_migrations_build(database_url: str) -> None:
    engine = connect(database_url)
    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, Base.metadata))


async def test_states_and_lanes_that_do_not_exist_are_refused_by_the_database(
    store: Store,
) -> None:
    id = await queue(store)
    async with store.engine.connect() as connection:
        for column in ("state", "lane"):
            statement = text(f"UPDATE jobs SET {column} = 'sleeping' WHERE id = :id")
            with pytest.raises(Exception, match=r"(?i)check constraint"):
                await connection.execute(statement, {"id": id})


def test_the_newest_revision_is_the_one_the_code_asks_for() -> None:
    config = Config()
    folder = Path(models.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))
    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


async def test_an_empty_database_is_refused_with_the_command(empty_url: str) -> None:
    engine = connect(empty_url)
    with pytest.raises(SchemaOutdated, match=r"is empty.*run: deltaworks db upgrade"):
        await require_schema(engine)
    await engine.dispose()


async def test_an_outdated_database_is_refused_and_a_newer_one_is_not(database_url: str) -> None:
    engine = connect(database_url)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    with pytest.raises(SchemaOutdated, match=f"revision 0000, this version needs {schema.HEAD}"):
        await require_schema(engine)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await require_schema(engine)
    await engine.dispose()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://u@h/db", "postgresq://u:secret@h/db", "sqlite"]
)
def test_a_url_of_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="DELTAWORKS_DATABASE_URL") as caught:
        connect(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
async def test_every_way_to_write_postgresql_is_understood(
    scheme: str, postgres_server: PostgresServer, postgres_url: str
) -> None:
    engine = connect(postgres_url.replace("postgresql+psycopg", scheme))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1
    await engine.dispose()


async def test_many_who_open_a_new_sqlite_database_at_once_all_get_in(tmp_path: Path) -> None:
    for turn in range(20):
        url = f"sqlite:///{tmp_path / f'{turn}.db'}"
        schema.upgrade(url)
        engines = [connect(url) for _ in range(8)]
        await asyncio.gather(*(require_schema(engine) for engine in engines))
        for engine in engines:
            await engine.dispose()
