"""What is asked of batches: by whose key, of which file, and what it may use."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models import BatchStatus, JobState
from tests.batches import CHAT, begun, change, count, end_at_once, file, inserted, row, taken
from worker.batch.submission import BatchSubmission
from worker.errors import Denied, InvalidRequest
from worker.settings import Settings
from worker.store import Store


@pytest.fixture
def batches(store: Store, tmp_path: Path) -> BatchSubmission:
    async def nudge() -> bool:
        return True

    return BatchSubmission(store, nudge, Settings(home=tmp_path))


async def test_a_file_that_has_expired_is_no_file(store: Store, batches: BatchSubmission) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    over = await store.files.add(file(expires_at=past))
    lives = await store.files.add(file(expires_at=past + timedelta(hours=1)))
    document = {"input_file_id": over.id, "endpoint": CHAT}
    with pytest.raises(InvalidRequest, match="which is no file; upload it first") as refused:
        await batches.create(document, tenant="default")
    assert refused.value.field == "input_file_id"
    assert await store.batches.page("default", 9) == []
    made = await batches.create({**document, "input_file_id": lives.id}, tenant="default")
    assert made.input_file_id == lives.id


async def test_a_batch_may_use_what_the_key_may_that_asked_for_it(
    store: Store, batches: BatchSubmission
) -> None:
    given = await store.files.add(file())
    document = {"input_file_id": given.id, "endpoint": CHAT}
    for models in (None, (), ("sim", "gpt-*")):
        made = await batches.create(document, tenant="default", allowed_models=models)
        kept = (await store.batches.get(made.id)).allowed_models
        assert kept == (None if models is None else list(models))
        await change(store, made, status=BatchStatus.COMPLETED.value)


async def test_a_batch_of_failed_rows_may_use_what_the_key_may_that_asked_for_them(
    store: Store, batches: BatchSubmission
) -> None:
    mine = await begun(store, 1, allowed_models=["sim"])
    await end_at_once(store, mine, JobState.FAILED)
    await change(store, mine, status=BatchStatus.COMPLETED.value)
    mine = await store.batches.get(mine.id)
    for models in (None, ("other",)):
        child = await batches.retry(mine, allowed_models=models)
        assert child.retry_of == mine.id
        assert child.allowed_models == (None if models is None else ["other"])


async def test_rows_of_a_running_batch_are_tried_again_by_keys_that_may_use_their_models(
    store: Store, batches: BatchSubmission
) -> None:
    mine = await taken(store, mixed_models=True)
    assert await inserted(store, mine, [row(0), row(1, model="other")])
    assert await store.intake.begin(mine, 2, None, {})
    await end_at_once(store, mine, JobState.FAILED)
    mine = await store.batches.get(mine.id)
    with pytest.raises(Denied, match="model: this key may not use 'other'; use sim"):
        await batches.retry(mine, allowed_models=("sim",))
    assert await count(store) == 2
    await batches.retry(mine, allowed_models=("sim", "oth*"))
    assert await count(store) == 4
