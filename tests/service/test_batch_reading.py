"""Reading batches in: all rows once, or none and every fault, whoever crashes meanwhile."""

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models import Batch, BatchStatus, Job, JobState
from tests.batches import (
    CHAT,
    LATER,
    LEASE_S,
    batch,
    begun,
    change,
    count,
    end_at_once,
    finished,
    inserted,
    numbers_of,
    row,
    rows_of,
    taken,
)
from tests.service.conftest import OpenStore
from worker.batch.lines import PORTION_ROWS, Lines
from worker.batch.reading import Reading
from worker.batch.submission import BatchSubmission
from worker.batch.writing import Writing
from worker.catalog import Catalog, Price, Upstream
from worker.errors import Conflict
from worker.files import Storage
from worker.settings import Settings
from worker.store import Store

PRICE = Price(input=1.0, output=10.0)
PRICED = Upstream(
    name="a", base_url="http://a", models=("sim", "other"), prices={"sim": PRICE, "other": PRICE}
)
CATALOG = Catalog((PRICED,))
UNPRICED = Catalog((Upstream(name="a", base_url="http://a", models=("sim",)),))
MANY = 2_500


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path / 'files'}")


def line(number: int, **fields: Any) -> bytes:
    body = {"model": "sim", "messages": [{"role": "user", "content": f"hello {number}"}]}
    whole = {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body, **fields}
    return msgspec.json.encode(whole) + b"\n"


def put(storage: Storage, lines: list[bytes], id: str = "file-1") -> None:
    with storage.writing(id) as file:
        file.write(b"".join(lines))


def reading(
    store: Store, storage: Storage, settings: Settings, catalog: Catalog = CATALOG
) -> Reading:
    return Reading(store.intake, storage, catalog, settings)


async def test_a_valid_file_begins(store: Store, storage: Storage, settings: Settings) -> None:
    put(storage, [line(n) if n != 1 else b"\n" for n in range(MANY)])
    mine = await taken(store, max_cost=5.0)
    await reading(store, storage, settings).run(mine)
    found = await store.batches.get(mine.id)
    assert (found.status, found.total, found.model) == ("in_progress", MANY - 1, "sim")
    assert (found.lease_owner, found.errors) == (None, None)
    assert found.tally is not None and 0 < float(str(found.tally["reserve"])) < 1
    assert await numbers_of(store, mine) == [0, *range(2, MANY)]
    first = (await rows_of(store, mine))[0]
    assert (first.custom_id, first.lane, first.held) == ("row-0", "bulk", True)
    grace = timedelta(seconds=settings.grace_s)
    assert abs(first.deadline_at - mine.expires_at - grace) < timedelta(seconds=1)


async def test_a_file_with_faults_leaves_no_row_and_tells_all_of_them(
    store: Store, storage: Storage, settings: Settings
) -> None:
    lines = [line(n) for n in range(MANY)]
    lines[1_500], lines[2_400] = b"x\n", line(7)
    put(storage, lines)
    mine = await taken(store)
    await reading(store, storage, settings).run(mine)
    found = await store.batches.get(mine.id)
    assert found.status == "failed" and found.failed_at is not None and found.errors is not None
    assert [(fault["line"], fault["code"]) for fault in found.errors] == [
        (1501, "invalid_json_line"),
        (2401, "duplicate_custom_id"),
    ]
    assert await count(store) == 0
    assert await store.intake.take(LEASE_S) is None


async def test_a_file_that_is_gone_fails_its_batch(
    store: Store, storage: Storage, settings: Settings
) -> None:
    mine = await taken(store)
    await reading(store, storage, settings).run(mine)
    found = await store.batches.get(mine.id)
    assert found.status == "failed" and found.errors is not None
    assert [fault["code"] for fault in found.errors] == ["file_not_found"]


@pytest.mark.parametrize("faults", [[], [b"x\n"]])
async def test_whoever_goes_on_after_a_crash_leaves_each_row_once_or_none(
    open_store: OpenStore, storage: Storage, settings: Settings, faults: list[bytes]
) -> None:
    us, them = open_store("us"), open_store("them")
    put(storage, [*(line(n) for n in range(MANY)), *faults])
    ours = await taken(us, lease_s=LEASE_S)
    with storage.reading("file-1") as file:
        lines = Lines(file, ours, CATALOG, max_bytes=10_000, max_rows=MANY + 1)
        assert await inserted(us, ours, lines.portion())
        assert await inserted(us, ours, portion := lines.portion())
        # Here the process stands still; its lease expires.
        await change(us, ours, lease_until=datetime.now(UTC) - timedelta(seconds=1))
        theirs = await them.intake.take(LEASE_S)
        assert theirs is not None and theirs.id == ours.id
        assert not await inserted(us, ours, portion)
    await reading(them, storage, settings).run(theirs)
    assert not await us.intake.begin(ours, 1, "sim", {}) or not faults
    assert await numbers_of(us, ours) == ([] if faults else list(range(MANY)))
    found = await us.batches.get(ours.id)
    assert found.status == ("failed" if faults else "in_progress")
    assert found.total == (0 if faults else MANY)


async def test_a_reader_that_has_lost_its_lease_stops(
    open_store: OpenStore, storage: Storage, settings: Settings
) -> None:
    us, them = open_store("us"), open_store("them")
    # Blank lines, so that it still reads ahead when it hears that the first rows are not wanted.
    put(storage, [*(line(n) for n in range(PORTION_ROWS)), b"\n" * 1_000_000, line(MANY)])
    ours = await taken(us, lease_s=-1)
    assert await them.intake.take(LEASE_S) is not None
    unheard: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    await reading(us, storage, settings).run(ours)
    # The file was not closed while it was read.
    assert len(asyncio.all_tasks()) == 1
    gc.collect()
    assert unheard == []
    assert await count(us) == 0
    assert (await us.batches.get(ours.id)).status == "validating"


async def test_a_batch_cancelled_while_it_is_read_in_ends_without_more_rows(
    store: Store, storage: Storage, settings: Settings
) -> None:
    put(storage, [line(n) for n in range(5)])
    mine = await taken(store)
    await store.batches.cancel(mine.id)
    await reading(store, storage, settings).run(mine)
    assert await count(store) == 0
    await Writing(store, storage, settings).run(await finished(store, mine))
    found = await store.batches.get(mine.id)
    assert (found.status, found.total, found.output_file_id) == ("cancelled", 0, None)


async def retried(
    store: Store, settings: Settings, mine: Batch, *categories: str, **terms: Any
) -> Batch:
    """The child of an ended batch, taken to be read in."""

    async def nudge() -> bool:
        return True

    batches = BatchSubmission(store, nudge, settings)
    child = await batches.retry(mine, categories or None, **terms)
    assert child.retry_of == mine.id
    found = await store.intake.take(LEASE_S)
    assert found is not None and found.id == child.id
    return found


async def test_failed_rows_of_an_ended_batch_begin_again_in_another(
    store: Store, storage: Storage, settings: Settings
) -> None:
    mine = await begun(store, 10, max_cost=3.0)
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row.in_([2, 5]))
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row == 7, error_category="billing")
    await end_at_once(store, mine)
    await Writing(store, storage, settings).run(await finished(store, mine))
    mine = await store.batches.get(mine.id)

    child = await retried(store, settings, mine, "server")
    await reading(store, storage, settings).run(child)
    found = await store.batches.get(child.id)
    assert (found.status, found.total, found.model) == ("in_progress", 2, "sim")
    assert [job.custom_id for job in await rows_of(store, child)] == ["row-2", "row-5"]
    first = (await rows_of(store, mine))[2]
    assert (await rows_of(store, child))[0].request == first.request
    # A cap is kept from the first row on.
    assert found.tally is not None and float(str(found.tally["reserve"])) > 0

    every = await retried(store, settings, mine)
    await reading(store, storage, settings).run(every)
    assert await numbers_of(store, every) == [7]  # the others are run again already

    with pytest.raises(Conflict):
        await retried(store, settings, mine, "poison")

    for again in (child, every):
        await end_at_once(store, again, JobState.FAILED)
    unpriced = await retried(store, settings, mine)
    await reading(store, storage, settings, UNPRICED).run(unpriced)
    found = await store.batches.get(unpriced.id)
    assert found.errors is not None and found.errors[0]["code"] == "no_price"
    assert await numbers_of(store, unpriced) == []


async def with_failures(store: Store, **fields: Any) -> Batch:
    """An ended batch of five rows, of two models and with metadata; the second and the last two
    have failed.
    """
    mine = await taken(store, mixed_models=True, **fields)
    models = ["sim", "sim", "other", "sim", "other"]
    given = [row(n, model=model, labels=f'{{"n":"{n}"}}') for n, model in enumerate(models)]
    assert await inserted(store, mine, given)
    assert await store.intake.begin(mine, 5, None, {})
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row.in_([1, 3, 4]))
    await end_at_once(store, mine)
    await change(store, mine, status=BatchStatus.COMPLETED.value)
    return await store.batches.get(mine.id)


@pytest.mark.parametrize("copied", [1, 2, 3])
async def test_whoever_goes_on_with_failed_rows_after_a_crash_has_each_of_them_once(
    store: Store, storage: Storage, settings: Settings, copied: int
) -> None:
    child = await retried(store, settings, await with_failures(store, max_cost=3.0))
    there = [row(1), row(3), row(4, model="other")][:copied]
    assert await inserted(store, child, there)
    await reading(store, storage, settings).run(child)
    found = await store.batches.get(child.id)
    assert (found.status, found.total, found.model) == ("in_progress", 3, None)
    assert found.tally is not None and float(str(found.tally["reserve"])) > 0
    assert await numbers_of(store, child) == [1, 3, 4]
    assert [job.id for job in await rows_of(store, child)][:copied] == [job.id for job in there]


async def test_a_row_that_fails_elsewhere_after_the_crash_is_not_counted(
    store: Store, storage: Storage, settings: Settings
) -> None:
    mine = await with_failures(store)
    sibling = await retried(store, settings, mine)
    assert await inserted(store, sibling, [row(1)])
    assert await store.intake.begin(sibling, 1, "sim", {})
    child = await retried(store, settings, mine)
    assert await inserted(store, child, [row(3)])
    await end_at_once(store, sibling, JobState.FAILED)
    await reading(store, storage, settings).run(child)
    assert (await store.batches.get(child.id)).total == 2
    assert await numbers_of(store, child) == [3, 4]


async def test_failed_rows_that_run_again_keep_their_metadata(
    store: Store, storage: Storage, settings: Settings
) -> None:
    child = await retried(store, settings, await with_failures(store))
    await reading(store, storage, settings).run(child)
    assert [job.labels for job in await rows_of(store, child)] == [{"n": n} for n in "134"]


async def test_failed_rows_of_a_model_that_whoever_asks_may_not_use_are_faults(
    store: Store, storage: Storage, settings: Settings
) -> None:
    mine = await with_failures(store, allowed_models=["*"])
    child = await retried(store, settings, mine, allowed_models=("oth*",))
    await reading(store, storage, settings).run(child)
    found = await store.batches.get(child.id)
    message = "body.model: this key may not use 'sim'; use oth*"
    fault = {"code": "permission_denied", "message": message, "param": "body.model"}
    assert (found.status, found.errors) == ("failed", [{**fault, "line": n} for n in (2, 4)])
    assert await numbers_of(store, child) == []


async def test_two_readers_of_one_file_do_not_meet(
    open_store: OpenStore, storage: Storage, settings: Settings
) -> None:
    us, them = open_store("us"), open_store("them")
    put(storage, [line(n) for n in range(MANY)])
    for store in (us, them):
        await store.batches.add(batch(expires_at=datetime.now(UTC) + LATER))
    ours, theirs = await us.intake.take(LEASE_S), await them.intake.take(LEASE_S)
    assert ours is not None and theirs is not None
    await asyncio.gather(
        reading(us, storage, settings).run(ours), reading(them, storage, settings).run(theirs)
    )
    for each in (ours, theirs):
        assert await numbers_of(us, each) == list(range(MANY))
        assert (await us.batches.get(each.id)).status == "in_progress"
