"""Intake: rows are inserted once, in order, and by whoever holds the batch."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import insert

from models import Batch, BatchStatus, Job, JobState
from tests.batches import (
    BODY,
    LEASE_S,
    batch,
    begun,
    change,
    end_at_once,
    inserted,
    numbers_of,
    row,
    rows_of,
    settled,
    taken,
)
from tests.service.conftest import OpenStore
from worker.store import Results, Store

NASTY = (
    "tab\t back\\ feed\n return\r\n \\N \\. \\t quote\"' NUL\ufffd \u00e4\u20ac\U0001f600 \x01\x7f"
)
FAULTS = [{"code": "invalid_json_line", "message": "is none", "line": 3, "param": None}]


async def expired_lease(store: Store, batch: Batch) -> None:
    await change(store, batch, lease_until=datetime.now(UTC) - timedelta(seconds=1))


async def taken_next(store: Store) -> Batch:
    found = await store.intake.take(LEASE_S)
    assert found is not None
    return found


async def ended_with_failures(store: Store, count: int, **fields: Any) -> Batch:
    """A batch all of whose rows have failed; it is taken for nothing any more."""
    mine = await begun(store, count, **fields)
    await end_at_once(store, mine, JobState.FAILED)
    await change(store, mine, status=BatchStatus.COMPLETED.value)
    return mine


async def failed(store: Store, batch: Batch) -> list[int | None]:
    """The rows that a batch of this one's failed rows would have."""
    return [job.batch_row for job in await store.intake.failed_rows(batch.id, None, -1, 99)]


async def test_a_portion_is_inserted_once_however_often_it_is_repeated(store: Store) -> None:
    mine = await taken(store)
    first, second = [row(n) for n in range(5)], [row(n) for n in range(5, 8)]
    for _ in range(3):
        assert await inserted(store, mine, first)
    # Whoever reads again makes new ids, and may cut the portions elsewhere.
    assert await inserted(store, mine, [row(n) for n in range(3, 6)])
    assert await inserted(store, mine, second)
    assert await inserted(store, mine, first)
    assert await numbers_of(store, mine) == list(range(8))
    assert [job.id for job in await rows_of(store, mine)][:5] == [each.id for each in first]


async def test_rows_may_have_holes_where_a_file_has_blank_lines(store: Store) -> None:
    mine = await taken(store)
    assert await inserted(store, mine, [row(n) for n in (0, 3, 4, 9)])
    assert await inserted(store, mine, [])
    assert await numbers_of(store, mine) == [0, 3, 4, 9]


async def test_whoever_lost_its_lease_to_another_inserts_nothing(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await taken(us)
    assert await inserted(us, ours, [row(0)])
    await expired_lease(us, ours)
    theirs = await them.intake.take(LEASE_S)
    assert theirs is not None and theirs.id == ours.id
    assert not await inserted(us, ours, [row(1)])
    assert not await us.intake.hold_on(ours, LEASE_S)
    assert await numbers_of(us, ours) == [0]
    assert await inserted(them, theirs, [row(0), row(1)])
    assert await numbers_of(us, ours) == [0, 1]


async def test_a_lease_that_expired_is_kept_by_its_holder_while_nobody_else_took_it(
    store: Store,
) -> None:
    mine = await taken(store, lease_s=-1)
    assert await inserted(store, mine, [row(0)])
    assert await store.intake.take(LEASE_S) is None


async def test_a_batch_left_to_others_is_theirs_at_once(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await taken(us)
    await them.intake.leave(ours)  # it is not theirs to leave
    assert await them.intake.take(LEASE_S) is None
    await us.intake.leave(ours)
    assert await them.intake.take(LEASE_S) is not None
    await us.intake.leave(ours)
    assert not await inserted(us, ours, [row(0)])
    assert await us.intake.take(LEASE_S) is None


async def test_a_cancelled_batch_takes_no_more_rows(store: Store) -> None:
    mine = await taken(store)
    assert await inserted(store, mine, [row(0)])
    cancelled = await store.batches.cancel(mine.id)
    assert cancelled.status == BatchStatus.CANCELLING
    assert not await inserted(store, mine, [row(1)])
    assert not await store.intake.begin(mine, 2, "sim", {})
    assert not await store.intake.reject(mine, FAULTS)
    assert await numbers_of(store, mine) == [0]


async def test_the_last_rows_are_dropped_first(store: Store) -> None:
    mine = await taken(store)
    await inserted(store, mine, [row(n) for n in range(7)])
    assert await store.intake.drop(mine, 3, LEASE_S) == 3
    assert await numbers_of(store, mine) == [0, 1, 2, 3]
    assert await store.intake.drop(mine, 3, LEASE_S) == 3
    assert await store.intake.drop(mine, 3, LEASE_S) == 1
    assert await store.intake.drop(mine, 3, LEASE_S) == 0
    assert await numbers_of(store, mine) == []


async def test_only_the_holder_drops_rows(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await taken(us)
    await inserted(us, ours, [row(n) for n in range(3)])
    await expired_lease(us, ours)
    theirs = await them.intake.take(LEASE_S)
    assert theirs is not None
    assert await us.intake.drop(ours, 10, LEASE_S) == 0
    # To them the file was valid, though not to us: its rows may run by now.
    assert await them.intake.begin(theirs, 3, "sim", {})
    assert await us.intake.drop(ours, 10, LEASE_S) == 0
    assert await them.intake.drop(theirs, 10, LEASE_S) == 0
    assert await numbers_of(us, ours) == [0, 1, 2]


async def test_a_batch_begins_by_its_holder_and_once(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await taken(us)
    assert not await them.intake.begin(ours, 7, "sim", {})
    assert await us.intake.begin(ours, 7, "sim", {"reserve": 0.5})
    assert await us.intake.begin(ours, 8, "other", {})
    begun = await us.batches.get(ours.id)
    assert (begun.status, begun.total, begun.model) == ("in_progress", 7, "sim")
    assert begun.tally == {"reserve": 0.5} and begun.in_progress_at is not None
    assert (begun.lease_owner, begun.lease_until) == (None, None)
    assert not await us.intake.reject(ours, FAULTS)


async def test_a_batch_is_rejected_by_its_holder_and_once(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await taken(us, webhook_url="https://example.com")
    assert not await them.intake.reject(ours, FAULTS)
    assert await us.intake.reject(ours, FAULTS)
    assert await us.intake.reject(ours, [])
    failed = await us.batches.get(ours.id)
    assert (failed.status, failed.errors) == ("failed", FAULTS)
    assert failed.failed_at is not None and failed.webhook_due_at is not None
    assert not await us.intake.begin(ours, 7, "sim", {})
    assert await us.intake.take(LEASE_S) is None


@pytest.mark.parametrize("status", ["completed", "expired", "cancelled"])
async def test_a_batch_is_concluded_by_its_holder_and_once(
    open_store: OpenStore, status: str
) -> None:
    us, them = open_store("us"), open_store("them")
    ours = await begun(us)
    assert await us.tending.finish(ours.id)
    finalizing = await us.intake.take(LEASE_S)
    assert finalizing is not None
    end = BatchStatus(status)
    results = Results(9, {"completed": 9}, "file-out", None)
    assert not await them.intake.conclude(finalizing, end, results)
    assert await us.intake.conclude(finalizing, end, results)
    assert await us.intake.conclude(finalizing, end, Results(0, {}, None, None))
    found = await us.batches.get(ours.id)
    assert (found.status, found.total, found.tally) == (status, 9, {"completed": 9})
    assert (found.output_file_id, found.error_file_id) == ("file-out", None)
    assert getattr(found, f"{status}_at") is not None and found.webhook_due_at is None


async def test_texts_survive_as_they_are(store: Store) -> None:
    mine = await taken(store, tenant="t\u00e4nant")
    body = {**BODY, "messages": [{"role": "user", "content": NASTY}], NASTY: [NASTY, {"a": NASTY}]}
    fields = {"instructions": NASTY}
    nasty = row(
        0,
        custom_id=NASTY,
        model=NASTY,
        request=msgspec.json.encode(body).decode(),
        response_fields=msgspec.json.encode(fields).decode(),
        labels=msgspec.json.encode({NASTY: NASTY}).decode(),
    )
    plain = row(1, custom_id="\\N", request="{}", response_fields=None, labels=None)
    long = row(
        2, custom_id="\U0001f600" * 255, request=msgspec.json.encode({"a": [NASTY] * 9999}).decode()
    )
    assert await inserted(store, mine, [nasty, plain, long])
    first, second, third = await rows_of(store, mine)
    assert (first.custom_id, first.model, first.request) == (NASTY, NASTY, body)
    assert list(first.request) == list(body)
    assert (first.response_fields, first.tenant) == (fields, "t\u00e4nant")
    assert (first.labels, second.labels, third.labels) == ({NASTY: NASTY}, None, None)
    assert (second.custom_id, second.request, second.response_fields) == ("\\N", {}, None)
    assert (third.custom_id, third.request) == ("\U0001f600" * 255, {"a": [NASTY] * 9999})


async def test_columns_are_as_by_an_ordinary_insert(store: Store) -> None:
    mine = await taken(store)
    assert await inserted(store, mine, [row(0)])
    (copied,) = await rows_of(store, mine)
    own = {"id": "job_ordinary", "batch_row": 1, "custom_id": "row-1"}
    same = ("tenant", "request_hash", "request", "model", "lane", "batch_id", "held")
    ordinary = {name: getattr(copied, name) for name in same} | own
    ordinary |= {"deadline_at": copied.deadline_at, "wake_at": copied.wake_at}
    async with store.engine.begin() as connection:
        await connection.execute(insert(Job), [ordinary])
    inserted_by_orm = (await rows_of(store, mine))[1]
    for attribute in Job.__mapper__.column_attrs:
        if attribute.key not in (*own, "created_at"):
            found = getattr(copied, attribute.key)
            assert found == getattr(inserted_by_orm, attribute.key), attribute.key
    assert abs(copied.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    assert copied.deadline_at == mine.expires_at and copied.held


async def test_a_batch_is_taken_by_one_process_only_and_the_oldest_first(
    open_store: OpenStore,
) -> None:
    stores = [open_store(f"process-{n}") for n in range(4)]
    now = datetime.now(UTC)
    ids = []
    for age in range(3, 9):
        created = now - timedelta(minutes=10 - age)
        ids.append((await stores[0].batches.add(batch(created_at=created))).id)
    oldest = await stores[0].intake.take(LEASE_S)
    assert oldest is not None and oldest.id == ids[0]
    found: list[Batch | None] = []
    while len(found) < 4 or any(found[-4:]):
        found += await asyncio.gather(*(store.intake.take(LEASE_S) for store in stores))
    taken_ids = [each.id for each in found if each is not None]
    assert sorted(taken_ids) == sorted(ids[1:])


async def test_what_runs_or_has_ended_is_not_taken(store: Store) -> None:
    running = await begun(store, 1)
    assert await store.intake.take(LEASE_S) is None
    (job,) = await rows_of(store, running)
    await settled(store, job.id)
    assert await store.tending.finish(running.id)
    finalizing = await store.intake.take(LEASE_S)
    assert finalizing is not None and finalizing.id == running.id


async def test_of_batches_of_one_batchs_failed_rows_one_is_read_in_at_a_time(
    open_store: OpenStore,
) -> None:
    us, them = open_store("us"), open_store("them")
    now = datetime.now(UTC)
    for id, age in (("first", 3), ("second", 2), ("third", 2)):
        created = now - timedelta(minutes=age)
        await us.batches.add(batch(id=f"batch_{id}", retry_of="batch_parent", created_at=created))
    first = await taken_next(us)
    assert first.id == "batch_first"
    assert await them.intake.take(LEASE_S) is None
    # Neither those of another batch wait for it, nor one that is read from a file.
    others = [await us.batches.add(batch(retry_of=of)) for of in ("batch_other", None)]
    found = [await taken_next(them) for _ in others]
    assert {each.id for each in found} == {each.id for each in others}
    # Nor is it another's turn where the first was only left for a while.
    await us.intake.leave(first, LEASE_S)
    assert await them.intake.take(LEASE_S) is None
    await expired_lease(us, first)
    first = await taken_next(them)
    assert first.id == "batch_first"
    assert await them.intake.begin(first, 0, None, {})
    second = await taken_next(them)
    assert second.id == "batch_second"
    assert await us.intake.take(LEASE_S) is None
    assert await them.intake.reject(second, FAULTS)
    assert (await taken_next(us)).id == "batch_third"


async def test_a_batch_of_failed_rows_that_is_being_read_in_is_waited_for_by_an_older_one(
    open_store: OpenStore,
) -> None:
    us, them = open_store("us"), open_store("them")
    first = await taken(us, retry_of="batch_parent")
    # Made after it, by a gateway whose clock is late.
    late = datetime.now(UTC) - timedelta(minutes=1)
    second = await us.batches.add(batch(retry_of="batch_parent", created_at=late))
    assert await them.intake.take(LEASE_S) is None
    await expired_lease(us, first)
    assert (await taken_next(them)).id == second.id
    assert await us.intake.take(LEASE_S) is None


async def test_a_batch_of_failed_rows_whose_results_are_to_be_written_waits_for_none(
    store: Store,
) -> None:
    first = await taken(store, retry_of="batch_parent")
    assert await store.intake.begin(first, 0, None, {})
    assert await store.tending.finish(first.id)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    await store.batches.add(batch(retry_of="batch_parent", created_at=long_ago))
    assert (await taken_next(store)).status == BatchStatus.VALIDATING
    assert (await taken_next(store)).id == first.id


async def test_a_failed_row_is_not_run_again_while_any_batch_made_for_it_has_it(
    store: Store,
) -> None:
    parent = await ended_with_failures(store, 4)
    child = await ended_with_failures(store, 3, retry_of=parent.id)
    assert await failed(store, parent) == [0, 1, 2, 3]
    grandchild = await begun(store, 2, retry_of=child.id)
    assert await failed(store, parent) == [2, 3]
    await end_at_once(store, grandchild, JobState.COMPLETED, Job.batch_row == 0)
    await end_at_once(store, grandchild, JobState.FAILED)
    assert (await failed(store, parent), await failed(store, child)) == ([1, 2, 3], [1, 2])
    await change(store, grandchild, status=BatchStatus.COMPLETED.value)
    await begun(store, 2, retry_of=grandchild.id)
    assert await failed(store, parent) == [2, 3]
    assert await failed(store, child) == [2]


async def test_a_failed_row_that_was_erased_is_not_run_again(store: Store) -> None:
    parent = await ended_with_failures(store, 3)
    await store.jobs.erase((await rows_of(store, parent))[1].id)
    assert await failed(store, parent) == [0, 2]
