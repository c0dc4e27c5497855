"""What is asked of batches: of which file."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.batches import CHAT, file
from worker.batch.submission import BatchSubmission
from worker.errors import InvalidRequest
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
