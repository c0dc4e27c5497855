"""The census counts what has not ended, and looks at nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import event

from models import Job, JobState, Lane
from tests.batches import begun, end_at_once
from tests.jobs import DEADLINE_S, claimed, new_id, queue, request
from worker.errors import Category, UpstreamError
from worker.store import Store, Waiting, Wanted


async def some(store: Store) -> None:
    """Jobs of each kind, and a batch most of whose rows have ended."""
    mine = await begun(store, 1_000)
    assert await end_at_once(store, mine, JobState.COMPLETED, Job.batch_row > 9) == 990
    later = datetime.now(UTC) + timedelta(hours=1)
    for prompt in "abc":
        await queue(store, prompt=prompt)
    await queue(store, prompt="later", scheduled_at=later)
    await store.jobs.insert(
        request("held", lane=Lane.BULK), id=new_id(), tenant="t", deadline_s=DEADLINE_S, held=True
    )
    await claimed(store)
    await store.holds.present(30, bulk_slots=1)
    await store.suspensions.suspend(
        base_url="https://a", key_fingerprint="f", model="*", upstream="a",
        error=UpstreamError(Category.BILLING), for_s=60,
    )  # fmt: skip


def kinds(waiting: Any) -> dict[tuple[str, bool], int]:
    return {(each.lane, each.later): each.jobs for each in waiting}


async def test_what_waits_and_runs_is_counted(store: Store) -> None:
    before = datetime.now(UTC)
    await some(store)
    counts = await store.census.take()

    assert kinds(counts.released) == {("interactive", False): 3, ("interactive", True): 1}
    assert kinds(counts.held) == {("bulk", False): 1}
    (due,) = (each for each in counts.released if not each.later)
    assert isinstance(due, Waiting) and due.since is not None
    assert abs(due.since - before) < timedelta(seconds=30) and due.since <= counts.now
    assert counts.running == {"interactive": 1} and counts.processes == 1
    assert [batch.total for batch in counts.batches] == [1_000]
    assert [each.category for each in counts.suspensions] == ["billing"]


async def test_a_released_row_of_a_batch_is_not_old(store: Store) -> None:
    await begun(store, 3)
    await store.holds.present(30, bulk_slots=2)
    released = await store.dispatching.release(lambda claimants, _: Wanted({claimants[0].id: 2}))
    counts = await store.census.take()

    assert released is not None and kinds(counts.released) == {("bulk", False): 2}
    assert [each.since for each in counts.released] == [None]


async def test_jobs_that_have_ended_cost_it_nothing(store: Store, backend: str) -> None:
    await some(store)
    async with store.engine.begin() as connection:
        await connection.exec_driver_sql("ANALYZE jobs")
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: seen.append((statement, values)),
    )
    await store.census.take()
    asked = [each for each in seen if "FROM jobs" in each[0]]
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    async with store.engine.connect() as connection:
        plans = [
            str((await connection.exec_driver_sql(explain + statement, values)).all())
            for statement, values in asked
        ]

    assert len(plans) == 3
    for plan in plans:
        assert "ix_jobs_" in plan and "Seq Scan on jobs" not in plan, plan
