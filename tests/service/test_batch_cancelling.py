"""Cancelled rows keep what they have cost by then, and their batch counts it, once, whenever."""

from pathlib import Path

import pytest
from redis.asyncio import Redis

from models import Batch, BatchStatus, Job, JobState
from tests.batches import LEASE_S, begins, begun, end_at_once, finished, rows_of, settled
from tests.jobs import attempt
from tests.streams import Holder
from worker.batch.tending import Tending
from worker.batch.writing import Writing
from worker.catalog import Catalog, Price, Upstream
from worker.channel.log import Log
from worker.channel.publisher import Publisher
from worker.files import Storage
from worker.settings import Settings
from worker.store import Results, Store, Tally, Wanted

# A token of the answer, four characters of it, costs 1.
PRICE = Price(input=0, output=1e6)
CATALOG = Catalog((Upstream(name="simulator", base_url="http://sim/v1", prices={"sim": PRICE}),))
LATE = 2.0


@pytest.fixture
def writing(store: Store, tmp_path: Path) -> Writing:
    return Writing(store, Storage(f"file://{tmp_path / 'files'}"), Settings(home=tmp_path))


async def speaking(store: Store, publisher: Publisher, id: str) -> None:
    """A row that is claimed, and has been answered eight characters by now."""
    job = await begins(store, id)
    holder = Holder(publisher, job.id, job.attempt, bulk=True)
    holder.start()
    holder.say("eight ch")
    assert await publisher.drain(5)


async def tally(store: Store, mine: Batch) -> Tally:
    return Tally.of((await store.batches.get(mine.id)).tally)


async def keep_lost(store: Store, id: str) -> None:
    """Keep what an attempt of the job has cost, and once more, as after an unanswered commit."""
    for _ in range(2):
        await store.jobs.keep_lost(attempt(Job(id=id, attempt=1), error_code="cancelled"), LATE)


async def test_what_runs_when_its_batch_is_cancelled_keeps_its_row_and_its_cost(
    store: Store, publisher: Publisher, log: Log, writing: Writing
) -> None:
    mine = await begun(store, 4)
    running, claimed, done, waiting = await rows_of(store, mine)
    await speaking(store, publisher, running.id)
    await begins(store, claimed.id)
    await settled(store, done.id, spent=0.5)
    await store.batches.cancel(mine.id)
    await Tending(store, log, CATALOG, Settings()).turn()

    (kept,) = await store.jobs.attempts(running.id)
    assert (kept.number, kept.error_code, kept.length) == (1, "cancelled", 8)
    assert await store.jobs.attempts(claimed.id) == await store.jobs.attempts(waiting.id) == []
    assert [job.cost for job in await rows_of(store, mine)] == [2.0, None, 0.5, None]
    ending = await store.intake.take(LEASE_S)
    assert ending is not None and ending.id == mine.id
    await writing.run(ending)
    assert (await store.batches.get(mine.id)).status == BatchStatus.CANCELLED
    assert (await tally(store, mine)).cost == 2.5


async def test_of_rows_that_never_began_no_log_is_read(
    store: Store, publisher: Publisher, log: Log, redis: Redis
) -> None:
    mine = await begun(store, 20)
    await store.holds.present(LEASE_S, bulk_slots=20)
    released = await store.dispatching.release(lambda _, room: Wanted({mine.id: room}))
    assert released is not None and len(released.ids[mine.id]) == 20
    await speaking(store, publisher, released.ids[mine.id][7])
    await store.batches.cancel(mine.id)
    await redis.config_resetstat()
    await Tending(store, log, CATALOG, Settings()).turn()
    assert {job.state for job in await rows_of(store, mine)} == {"cancelled"}
    # Each is announced, but only the one that ran is read.
    stats = await redis.info("commandstats")
    assert stats["cmdstat_publish"]["calls"] >= 20
    assert stats["cmdstat_exists"]["calls"] == 1


@pytest.mark.parametrize("before", [None, 0.5])
async def test_a_cost_that_is_known_after_its_row_was_counted_is_added_to_the_sums(
    store: Store, before: float | None
) -> None:
    mine = await begun(store, 2)
    first, _ = await rows_of(store, mine)
    await end_at_once(store, mine, JobState.CANCELLED, Job.batch_row == 0, cost=before)
    assert await store.tending.advance(mine.id, 10) == 1
    await keep_lost(store, first.id)
    found, whole = await tally(store, mine), (before or 0.0) + LATE
    assert (found.cost, found.priced, found.highest) == (whole, 1, whole)
    assert (found.completed, found.failed) == (0, 1)
    assert (await store.jobs.get(first.id)).cost == whole
    assert await store.tending.advance(mine.id, 10) == 0


async def test_a_cost_that_is_known_before_its_row_is_counted_is_counted_once(store: Store) -> None:
    mine = await begun(store, 2)
    first, second = await rows_of(store, mine)
    await keep_lost(store, second.id)  # it goes on
    await end_at_once(store, mine, JobState.CANCELLED, Job.batch_row == 0)
    await keep_lost(store, first.id)
    assert await store.tending.advance(mine.id, 10) == 1
    assert (await tally(store, mine)).cost == LATE
    await end_at_once(store, mine, JobState.COMPLETED, ago_s=30)
    assert await store.tending.advance(mine.id, 10) == 1
    assert (await tally(store, mine)).cost == 2 * LATE


async def test_results_that_may_lack_a_cost_are_written_anew(
    store: Store, writing: Writing
) -> None:
    mine = await begun(store, 1)
    (row,) = await rows_of(store, mine)
    await end_at_once(store, mine, JobState.CANCELLED)
    ours = await finished(store, mine)
    await keep_lost(store, row.id)
    lacking = Results(1, Tally(failed=1).document(), None, None)
    assert not await store.intake.conclude(ours, BatchStatus.COMPLETED, lacking)
    await writing.run(ours)
    again = await store.intake.take(LEASE_S)
    assert again is not None and again.id == mine.id
    await writing.run(again)
    assert (await store.batches.get(mine.id)).status == BatchStatus.COMPLETED
    assert (await tally(store, mine)).cost == LATE


async def test_a_cost_that_is_known_after_its_batch_has_ended_is_added_to_its_sums(
    store: Store, writing: Writing
) -> None:
    mine = await begun(store, 1)
    (row,) = await rows_of(store, mine)
    await end_at_once(store, mine, JobState.CANCELLED, cost=1.0)
    await writing.run(await finished(store, mine))
    await keep_lost(store, row.id)
    found = await store.batches.get(mine.id)
    assert (found.status, Tally.of(found.tally).cost) == (BatchStatus.COMPLETED, 1.0 + LATE)
