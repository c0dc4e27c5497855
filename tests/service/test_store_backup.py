"""A copy of an SQLite database that is at work: whole, private, and over nothing."""

import asyncio
from pathlib import Path

import pytest

from models import schema
from tests.jobs import queue
from worker.errors import ConfigurationError, InvalidRequest, StoreAway
from worker.store import Store, back_up, connect


async def test_a_copy_is_whole_though_others_write_meanwhile(rows: Store, tmp_path: Path) -> None:
    url, copy = rows.engine.url.render_as_string(), tmp_path / "copy.db"
    first = [await queue(rows, prompt=f"before {number}") for number in range(20)]
    copying = asyncio.create_task(asyncio.to_thread(back_up, url, copy))
    later = [await queue(rows, prompt=f"meanwhile {number}") for number in range(20)]
    size = await copying
    assert size == copy.stat().st_size and copy.stat().st_mode & 0o777 == 0o600

    copied = Store(connect(f"sqlite:///{copy}"), "us")
    found = await copied.jobs.many([*first, *later])
    assert set(first) <= set(found)
    async with copied.engine.connect() as connection:
        assert await connection.run_sync(schema.revision) == schema.HEAD
        assert await connection.exec_driver_sql("PRAGMA integrity_check") is not None
    assert (await copied.holds.claim(first[0], 30)) is not None
    await copied.aclose()


def test_a_copy_is_made_over_nothing_and_of_nothing_else(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.touch()
    with pytest.raises(InvalidRequest, match="is there already; name another one"):
        back_up(f"sqlite:///{tmp_path / 'jobs.db'}", there)
    with pytest.raises(StoreAway, match="cannot be copied"):
        back_up(f"sqlite:///{tmp_path / 'unknown.db'}", tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    with pytest.raises(ConfigurationError, match=r"run: pg_dump --format=custom .*//me@db/jobs'$"):
        back_up("postgresql://me:secret@db/jobs", tmp_path / "copy")
