"""SQLite by way of our own cursors: as with any driver, with fewer changes of threads."""

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.store import connect
from worker.store.engine import TRANSACTION

UNCLOSED = """
import asyncio, sys
from sqlalchemy import text
from worker.store import connect

async def leave() -> None:
    connection = await connect(sys.argv[1]).connect()
    print(await connection.scalar(text("SELECT 42")))

asyncio.run(leave())
"""


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    """A database with one table."""
    engine = connect(f"sqlite:///{tmp_path / 'things.db'}")
    async with engine.connect() as connection:
        await connection.execute(text("CREATE TABLE things (number INTEGER PRIMARY KEY)"))
    yield engine
    await engine.dispose()


async def test_rows_their_names_and_their_number_come_with_the_execution(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        numbers = [{"number": number} for number in range(500)]
        inserted = await connection.execute(text("INSERT INTO things VALUES (:number)"), numbers)
        found = await connection.execute(text("SELECT number, number * 2 AS twice FROM things"))
        changed = await connection.execute(text("DELETE FROM things WHERE number < 100"))
    assert (inserted.rowcount, changed.rowcount) == (500, 100)
    assert list(found.keys()) == ["number", "twice"]
    assert found.all() == [(number, number * 2) for number in range(500)]


async def test_a_statement_without_rows_has_none_and_one_that_finds_nothing_is_empty(
    engine: AsyncEngine,
) -> None:
    async with engine.connect() as connection:
        inserted = await connection.execute(text("INSERT INTO things VALUES (1)"))
        found = await connection.execute(text("SELECT number FROM things WHERE number = 2"))
    assert not inserted.returns_rows
    assert found.returns_rows and found.all() == []


async def test_a_failure_is_the_drivers_own_and_its_transaction_is_rolled_back(
    engine: AsyncEngine,
) -> None:
    whole = engine.execution_options(**{TRANSACTION: True})
    with pytest.raises(IntegrityError) as caught:
        async with whole.begin() as connection:
            await connection.execute(text("INSERT INTO things VALUES (1)"))
            await connection.execute(text("INSERT INTO things VALUES (1)"))
    assert "UNIQUE" in str(caught.value.orig)
    async with engine.connect() as connection:  # the one there is: it works on
        assert await connection.scalar(text("SELECT count(*) FROM things")) == 0


async def test_a_transaction_that_nobody_commits_leaves_nothing(engine: AsyncEngine) -> None:
    whole = engine.execution_options(**{TRANSACTION: True})
    async with whole.connect() as connection:
        await connection.execute(text("INSERT INTO things VALUES (1)"))
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM things")) == 0


def test_a_process_ends_although_it_has_closed_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'left.db'}"
    left = subprocess.run(
        [sys.executable, "-c", UNCLOSED, url], capture_output=True, timeout=60, check=False
    )
    assert (left.returncode, left.stdout.strip()) == (0, b"42")
