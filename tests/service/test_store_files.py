"""Rows of files: each tenant sees its own, in pages; what is over is found."""

from datetime import UTC, datetime, timedelta

import pytest

from models import File
from tests.batches import file
from worker.errors import FileNotFound
from worker.store import Store

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


async def filled(store: Store) -> list[str]:
    """Files of one tenant, two of each moment, the oldest first; another's besides."""
    made: list[File] = []
    for age in range(5):
        for twin in "ab":
            purpose = "batch_output" if age == 2 else "batch"
            created = NOW + timedelta(minutes=age)
            made.append(file(id=f"file-{age}{twin}", purpose=purpose, created_at=created))
    for each in (*reversed(made), file(id="file-theirs", tenant="other", created_at=NOW)):
        await store.files.add(each)
    return [f"file-{age}{twin}" for age in range(5) for twin in "ab"]


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("limit", [1, 3, 10, 100])
async def test_pages_have_each_file_once_and_in_order(
    store: Store, newest: bool, limit: int
) -> None:
    ids = await filled(store)
    found: list[File] = []
    while page := await store.files.page(
        "default", limit, purpose=None, after=found[-1] if found else None, newest=newest
    ):
        assert len(page) <= limit
        found += page
    assert [each.id for each in found] == (ids[::-1] if newest else ids)


async def test_a_page_may_be_of_one_purpose(store: Store) -> None:
    await filled(store)
    page = await store.files.page("default", 10, purpose="batch_output", after=None, newest=False)
    assert [each.id for each in page] == ["file-2a", "file-2b"]
    for unknown in ("vision", "\0"):
        assert not await store.files.page("default", 10, purpose=unknown, after=None, newest=True)


async def test_a_file_is_seen_by_its_tenant_alone(store: Store) -> None:
    mine = await store.files.add(file(filename="\u00e4.jsonl", bytes=2**40))
    assert mine.created_at is not None and (mine.filename, mine.bytes) == ("\u00e4.jsonl", 2**40)
    assert (await store.files.get(mine.id, "default")).id == mine.id
    assert (await store.files.get(mine.id)).id == mine.id
    for id, tenant in ((mine.id, "other"), ("file-unknown", "default"), ("file-\0", None)):
        with pytest.raises(FileNotFound):
            await store.files.get(id, tenant)


async def test_a_file_whose_time_is_over_lives_no_more(store: Store) -> None:
    now = datetime.now(UTC)
    for id, seconds in (("over", -1), ("soon", 60)):
        await store.files.add(file(id=f"file-{id}", expires_at=now + timedelta(seconds=seconds)))
    await store.files.add(file(id="file-forever"))
    for id in ("file-soon", "file-forever"):
        assert (await store.files.living(id, "default")).id == id
    for id, tenant in (("file-over", "default"), ("file-soon", "other"), ("file-none", "default")):
        with pytest.raises(FileNotFound):
            await store.files.living(id, tenant)


async def test_a_file_that_is_kept_again_is_replaced(store: Store) -> None:
    await store.files.add(file(id="file-1", bytes=7, expires_at=NOW))
    again = await store.files.add(file(id="file-1", bytes=9, expires_at=None))
    assert (again.bytes, again.expires_at) == (9, None)
    assert (await store.files.get("file-1")).bytes == 9


async def test_files_whose_time_is_over_are_found_oldest_first(store: Store) -> None:
    now = datetime.now(UTC)
    for id, seconds in (("new", -5), ("old", -9), ("later", 60)):
        await store.files.add(file(id=f"file-{id}", expires_at=now + timedelta(seconds=seconds)))
    await store.files.add(file(id="file-forever"))
    assert [each.id for each in await store.files.expired(10)] == ["file-old", "file-new"]
    assert [each.id for each in await store.files.expired(1)] == ["file-old"]
    await store.files.remove("file-old")
    await store.files.remove("file-old")
    assert [each.id for each in await store.files.expired(10)] == ["file-new"]
