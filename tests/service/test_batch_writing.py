"""Writing results: a line for each row, in one of two files, whatever became of the batch."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from models import Batch, Job, JobState
from tests.batches import (
    LEASE_S,
    begun,
    change,
    end_at_once,
    finished,
    inserted,
    row,
    rows_of,
    settled,
    taken,
)
from tests.service.conftest import OpenStore
from worker.batch.collecting import lines, results
from worker.batch.writing import Writing
from worker.files import Storage
from worker.ids import new_id
from worker.settings import Settings
from worker.store import Store, Tally


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def storage(folder: Path) -> Storage:
    return Storage(f"file://{folder}")


def contents(folder: Path, file_id: str | None) -> list[dict[str, Any]]:
    """The lines of a file of results."""
    if file_id is None:
        return []
    return [msgspec.json.decode(each) for each in (folder / file_id).read_bytes().splitlines()]


def files_in(folder: Path) -> dict[str, bytes]:
    """All that lies there, unfinished files as well."""
    return {each.name: each.read_bytes() for each in folder.glob("*")}


async def written(store: Store, storage: Storage, settings: Settings, batch: Batch) -> Batch:
    """The batch, ended, with its files."""
    await Writing(store, storage, settings).run(await finished(store, batch))
    return await store.batches.get(batch.id)


async def test_each_row_has_its_line_in_one_of_two_files(
    store: Store, storage: Storage, settings: Settings, folder: Path
) -> None:
    mine = await begun(store, 5, output_life_s=7200, webhook_url="https://example.com")
    rows = await rows_of(store, mine)
    usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
    await settled(store, rows[3].id, spent=0.5, usage=usage)
    await settled(store, rows[0].id, spent=0.25, usage=usage, upstream_request_id="req-7")
    await settled(store, rows[1].id, JobState.INCOMPLETE, finish_reason="length")
    await settled(store, rows[2].id, JobState.FAILED, error_category="rate_limit", error_status=429)
    await settled(store, rows[4].id, JobState.FAILED)
    found = await written(store, storage, settings, mine)
    assert (found.status, found.total) == ("completed", 5)
    assert found.completed_at is not None and found.webhook_due_at is not None
    tally = Tally.of(found.tally)
    assert (tally.completed, tally.failed) == (3, 2)
    assert (tally.cost, tally.input_tokens) == (0.75, 14)
    assert tally.categories == {"rate_limit": 1, "server": 1}
    output = contents(folder, found.output_file_id)
    assert [each["custom_id"] for each in output] == ["row-0", "row-1", "row-3"]
    first = output[0]["response"]
    assert (first["status_code"], first["request_id"]) == (200, "req-7")
    assert first["body"]["choices"][0]["message"]["content"] == "done"
    assert first["body"]["usage"]["prompt_tokens"] == 7
    errors = contents(folder, found.error_file_id)
    assert [each["custom_id"] for each in errors] == ["row-2", "row-4"]
    assert errors[0]["response"]["status_code"] == 429 and errors[0]["error"] is None
    for id, kind in ((found.output_file_id, "output"), (found.error_file_id, "error")):
        file = await store.files.get(str(id), mine.tenant)
        assert (file.purpose, file.filename) == ("batch_output", f"{mine.id}_{kind}.jsonl")
        assert file.bytes == storage.size(file.id) and file.expires_at is not None
        assert file.expires_at - file.created_at == timedelta(seconds=7200)


@pytest.mark.parametrize("end", ["completed", "expired", "cancelled"])
async def test_output_and_error_lines_are_as_many_as_rows(
    store: Store, storage: Storage, settings: Settings, folder: Path, end: str
) -> None:
    mine = await begun(store, 450)
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 10)
    again = [new_id("job_") for _ in range(20)]
    assert len(await store.tending.try_again(mine.id, None, again)) == 10
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row < 5)
    await end_at_once(store, mine, JobState.COMPLETED, Job.batch_row < 250, length=0)
    if end == "completed":
        await end_at_once(store, mine, JobState.FAILED)
    elif end == "expired":
        while await store.tending.expire(mine.id, 70):
            pass
    else:
        await store.batches.cancel(mine.id)
        while await store.tending.cancel(mine.id, 70):
            pass
    found = await written(store, storage, settings, mine)
    assert (found.status, found.total) == (end, 450)
    assert getattr(found, f"{end}_at") is not None
    output, errors = contents(folder, found.output_file_id), contents(folder, found.error_file_id)
    assert (len(output), len(errors)) == (245, 205)
    names = [each["custom_id"] for each in (*output, *errors)]
    assert sorted(names) == sorted(f"row-{n}" for n in range(450))
    tally = Tally.of(found.tally)
    assert (tally.completed, tally.failed) == (245, 205)
    codes = {each["error"] and each["error"]["code"] for each in errors}
    never_run = {"expired": "batch_expired", "cancelled": "batch_cancelled"}
    assert codes == ({None, never_run[end]} if end in never_run else {None})
    assert all((each["response"] is None) == (each["error"] is not None) for each in errors)


async def test_a_row_that_was_cancelled_by_itself_does_not_say_that_its_batch_was(
    store: Store, storage: Storage, settings: Settings, folder: Path
) -> None:
    mine = await begun(store, 2)
    first, second = await rows_of(store, mine)
    await store.jobs.cancel(first.id)
    await settled(store, second.id)
    found = await written(store, storage, settings, mine)
    assert found.status == "completed"
    (line,) = contents(folder, found.error_file_id)
    assert line["response"] is None
    assert line["error"] == {"code": "cancelled", "message": f"job {first.id} was cancelled"}


async def test_without_a_line_there_is_no_file(
    store: Store, storage: Storage, settings: Settings, folder: Path
) -> None:
    mine = await begun(store, 2)
    await end_at_once(store, mine, JobState.FAILED)
    found = await written(store, storage, settings, mine)
    assert found.output_file_id is None and found.error_file_id is not None
    assert files_in(folder).keys() == {found.error_file_id}


async def test_rows_of_responses_are_responses(
    store: Store, storage: Storage, settings: Settings, folder: Path
) -> None:
    mine = await taken(store, endpoint="/v1/responses")
    assert await inserted(store, mine, [row(0, response_fields='{"instructions":"Be brief."}')])
    assert await store.intake.begin(mine, 1, "sim", {})
    await settled(store, (await rows_of(store, mine))[0].id)
    found = await written(store, storage, settings, mine)
    (line,) = contents(folder, found.output_file_id)
    body = line["response"]["body"]
    assert (body["object"], body["instructions"]) == ("response", "Be brief.")


async def test_a_writer_that_lost_its_lease_leaves_no_file(
    open_store: OpenStore, storage: Storage, settings: Settings, folder: Path
) -> None:
    us, them = open_store("us"), open_store("them")
    mine = await begun(us, 3)
    await end_at_once(us, mine, JobState.COMPLETED, Job.batch_row < 2)
    await end_at_once(us, mine, JobState.FAILED)
    ours = await finished(us, mine)
    await change(us, ours, lease_until=datetime.now(UTC) - timedelta(seconds=1))
    theirs = await them.intake.take(LEASE_S)
    assert theirs is not None
    await Writing(us, storage, settings).run(ours)
    assert files_in(folder) == {}
    assert (await us.batches.get(mine.id)).status == "finalizing"

    await Writing(them, storage, settings).run(theirs)
    found = await us.batches.get(mine.id)
    assert found.status == "completed"
    files = files_in(folder)
    assert files.keys() == {found.output_file_id, found.error_file_id}
    await Writing(us, storage, settings).run(ours)
    assert files_in(folder) == files


async def test_results_written_anew_are_the_same_files(
    store: Store, storage: Storage, settings: Settings, folder: Path
) -> None:
    """Whoever wrote them died before it could say so."""
    mine = await begun(store, 3)
    await end_at_once(store, mine)
    first = await written(store, storage, settings, mine)
    before = files_in(folder)[str(first.output_file_id)]
    await change(store, mine, status="finalizing", lease_owner=None, output_file_id=None)
    again = await store.intake.take(LEASE_S)
    assert again is not None
    await Writing(store, storage, settings).run(again)
    found = await store.batches.get(mine.id)
    assert (found.status, found.output_file_id) == ("completed", first.output_file_id)
    assert files_in(folder) == {first.output_file_id: before}


async def collected(store: Store, batch: Batch, *, output: bool) -> list[str]:
    pieces = [piece async for piece in lines(store, batch, output=output)]
    found = b"".join(pieces).splitlines()
    return [msgspec.json.decode(each)["custom_id"] for each in found]


async def child_of(store: Store, parent: Batch, numbers: list[int]) -> Batch:
    """A batch that runs these rows of another once more."""
    child = await taken(store, retry_of=parent.id)
    assert await inserted(store, child, [row(number) for number in numbers])
    assert await store.intake.begin(child, len(numbers), "sim", {})
    return child


async def test_results_as_they_stand_have_each_ended_row_once(store: Store) -> None:
    mine = await begun(store, 6)
    rows = await rows_of(store, mine)
    await settled(store, rows[4].id)
    await settled(store, rows[1].id, JobState.FAILED)
    await settled(store, rows[2].id, JobState.FAILED)
    assert len(await store.tending.try_again(mine.id, None, [new_id("job_")])) == 1
    assert await collected(store, mine, output=True) == ["row-4"]
    assert await collected(store, mine, output=False) == ["row-2"]
    await end_at_once(store, mine, JobState.COMPLETED, Job.batch_row == 1)
    assert await collected(store, mine, output=True) == ["row-1", "row-4"]


async def test_rows_that_succeeded_in_another_batch_replace_those_that_failed(
    store: Store, storage: Storage, settings: Settings
) -> None:
    mine = await begun(store, 450)
    failed = [3, 200, 201, 449]
    await end_at_once(store, mine, JobState.FAILED, Job.batch_row.in_(failed))
    await end_at_once(store, mine)
    mine = await written(store, storage, settings, mine)
    child = await child_of(store, mine, failed)
    assert await collected(store, mine, output=False) == [f"row-{n}" for n in failed]
    await end_at_once(store, child, JobState.FAILED, Job.batch_row >= 201)
    await end_at_once(store, child)
    child = await written(store, storage, settings, child)
    assert await collected(store, mine, output=False) == ["row-201", "row-449"]
    grandchild = await child_of(store, child, [201, 449])
    await end_at_once(store, grandchild, JobState.COMPLETED, Job.batch_row == 449)
    assert await collected(store, mine, output=False) == ["row-201"]
    assert await collected(store, mine, output=True) == [f"row-{n}" for n in range(450) if n != 201]
    jobs = [job async for portion in results(store, mine) for job in portion]
    assert [job.batch_row for job in jobs] == list(range(450))
    assert {jobs[449].batch_id, jobs[3].batch_id, jobs[0].batch_id} == {
        grandchild.id, child.id, mine.id,
    }  # fmt: skip


async def test_only_a_row_that_succeeded_replaces_one_that_failed(store: Store) -> None:
    """That it was cancelled, or came too late, when it was tried again says nothing of why."""
    mine = await begun(store, 3)
    await end_at_once(store, mine, JobState.FAILED, error_category="billing")
    child = await child_of(store, mine, [0, 1, 2])
    await end_at_once(store, child, JobState.COMPLETED, Job.batch_row == 0)
    assert len(await store.tending.expire(child.id, 1)) == 1
    await end_at_once(store, child, JobState.CANCELLED)
    jobs = [job async for portion in results(store, mine) for job in portion]
    assert [(job.state, job.error_category) for job in jobs] == [
        ("completed", None), ("failed", "billing"), ("failed", "billing"),
    ]  # fmt: skip
