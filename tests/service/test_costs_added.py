"""What a job's requests have cost adds up in its row, each of them once, whoever made them."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from redis.asyncio import Redis

from models import Job
from tests.jobs import NoBatches, attempt, claimed, ended, queue
from tests.proxy import Proxy
from tests.service.conftest import OpenStore
from tests.streams import Holder
from tests.wire import until
from worker.cancellation import cancel
from worker.catalog import Catalog, Price, Upstream
from worker.channel.log import Log
from worker.channel.publisher import Publisher
from worker.errors import HoldLost, StoreAway
from worker.execution import Settling
from worker.job_object import job_object
from worker.leases import Leases
from worker.maintenance import Sweep
from worker.settings import Settings
from worker.spool import Spool, SpoolFolder
from worker.store import Settlement, Store

# Sums of these are exact in every order.
FIRST, SECOND, LAST = 0.25, 0.5, 4.0
PAST = timedelta(seconds=-1)
PRICED = Upstream(
    name="simulator", base_url="http://sim/v1", prices={"sim": Price(input=0, output=1e6)}
)
UNPRICED = msgspec.structs.replace(PRICED, prices={})


async def cost(store: Store, id: str) -> float | None:
    return (await store.jobs.get(id)).cost


async def next_attempt(store: Store, job: Job, spent: float | None, unsure: bool = False) -> bool:
    held = job.id, job.attempt
    return await store.holds.next_attempt(
        *held, "failures", attempt(job), spent=spent, unsure=unsure
    )


async def defer(store: Store, job: Job, spent: float | None, unsure: bool = False) -> bool:
    held = job.id, job.attempt
    due = datetime.now(UTC) + PAST
    return await store.holds.defer(*held, due, None, attempt(job), spent=spent, unsure=unsure)


async def test_a_retry_a_deferral_and_the_end_add_up_over_processes(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    job = await claimed(us)
    assert await cost(us, job.id) is None
    assert await next_attempt(us, job, FIRST)
    job.attempt += 1
    assert await cost(us, job.id) == FIRST
    assert await defer(us, job, SECOND)
    again = await claimed(them, job.id)
    assert again.cost == FIRST + SECOND
    assert await them.holds.settle(ended(again), attempt(again), spent=LAST)
    row = await us.jobs.get(job.id)
    assert job_object(row)["cost"] == FIRST + SECOND + LAST


async def test_what_no_price_is_known_for_changes_nothing(store: Store) -> None:
    job = await claimed(store)
    assert await next_attempt(store, job, None)
    job.attempt += 1
    assert await cost(store, job.id) is None
    assert await defer(store, job, FIRST)
    again = await claimed(store, job.id)
    assert await store.holds.settle(ended(again), None)
    assert await cost(store, job.id) == FIRST


async def test_a_request_that_cost_nothing_makes_a_cost_of_zero(store: Store) -> None:
    job = await claimed(store)
    assert await store.holds.settle(ended(job), attempt(job), spent=0.0)
    assert await cost(store, job.id) == 0.0


async def test_an_end_that_is_written_again_counts_once(store: Store) -> None:
    job = ended(await claimed(store))
    assert await store.holds.settle(job, attempt(job), spent=LAST)
    assert await store.holds.settle(job, attempt(job), spent=LAST, unsure=True)
    assert await store.holds.settle_late(Settlement.of(job, attempt(job), LAST)) is not None
    assert await cost(store, job.id) == LAST


async def test_a_retry_and_a_deferral_that_are_written_again_count_once(store: Store) -> None:
    job = await claimed(store)
    assert await next_attempt(store, job, FIRST)
    assert await next_attempt(store, job, FIRST, unsure=True)
    job.attempt += 1
    assert await defer(store, job, SECOND)
    assert await defer(store, job, SECOND, unsure=True)
    assert await cost(store, job.id) == FIRST + SECOND


@pytest.mark.parametrize("by", ["rescue", "cancel", "takeover"])
async def test_whoever_has_lost_the_fence_adds_nothing(open_store: OpenStore, by: str) -> None:
    us, them = open_store("us"), open_store("them")
    job = ended(await claimed(us))
    if by == "cancel":
        await them.jobs.cancel(job.id)
    else:
        await us.holds.renew({job.id: 1}, -1.0)
        await them.sweeping.rescue(10)
    if by == "takeover":
        await claimed(them, job.id)
    assert not await next_attempt(us, job, FIRST, unsure=True)
    assert not await defer(us, job, FIRST, unsure=True)
    assert not await us.holds.settle(job, attempt(job), spent=FIRST, unsure=True)
    assert await us.holds.settle_late(Settlement.of(job, attempt(job), FIRST)) is None
    assert await cost(us, job.id) is None


async def test_an_end_whose_commit_was_not_answered_counts_once(proxy: Proxy, us: Store) -> None:
    job = ended(await claimed(us))
    proxy.cut_after_request(b"COMMIT")
    with pytest.raises(StoreAway):
        await us.holds.settle(job, attempt(job), spent=LAST)
    assert await us.holds.settle(job, attempt(job), spent=LAST, unsure=True)
    assert await cost(us, job.id) == LAST


async def test_an_end_in_the_spool_keeps_what_was_spent_and_adds_it_late(
    store: Store, redis: Redis, tmp_path: Path
) -> None:
    job = await claimed(store)
    assert await next_attempt(store, job, FIRST)
    job.attempt += 1
    folder = SpoolFolder(tmp_path / "spool" / "database", 100, 1_000_000)
    spool = Spool(folder, store.holds, Log(redis), Settings())
    await spool.keep(Settlement.of(ended(job), attempt(job), LAST))
    (name,) = folder.names()
    for _ in range(2):
        assert await store.holds.settle_late(Settlement.decode(folder.read(name))) is not None
    assert await cost(store, job.id) == FIRST + LAST


async def test_what_is_settled_is_spooled_with_its_cost_where_the_database_is_away(
    proxy: Proxy, us: Store, redis: Redis, tmp_path: Path
) -> None:
    folder = SpoolFolder(tmp_path / "spool" / "database", 100, 1_000_000)
    spool = Spool(folder, us.holds, Log(redis), Settings())
    settling = Settling(us.holds, spool, lambda: None, NoBatches())
    hold = await Leases(us.holds, 1.5, 0.3).claim(await queue(us))
    assert hold is not None
    await proxy.down()
    assert not await settling.settle(hold, attempt(ended(hold.job)), LAST)
    (name,) = folder.names()
    assert Settlement.decode(folder.read(name)).spent == LAST


async def test_retries_and_deferrals_of_a_process_hand_on_what_was_spent(
    store: Store, redis: Redis, tmp_path: Path
) -> None:
    spool = Spool(SpoolFolder(tmp_path / "spool", 1, 1), store.holds, Log(redis), Settings())
    settling = Settling(store.holds, spool, lambda: None, NoBatches())
    hold = await Leases(store.holds, 30, 10).claim(await queue(store))
    assert hold is not None
    await settling.next_attempt(hold, None, attempt(hold.job), FIRST)
    with pytest.raises(HoldLost):
        await settling.next_attempt(hold, None, attempt(hold.job), FIRST)
    hold.job.attempt += 1
    await settling.defer(hold, None, None, attempt(hold.job), SECOND)
    assert await cost(store, hold.job.id) == FIRST + SECOND


def test_a_file_of_a_version_without_prices_is_an_end_of_unknown_cost() -> None:
    job = ended(Job(id="job_0123456789abcdef", attempt=1, unverified=False))
    known = Settlement.of(job, attempt(job), LAST)
    assert Settlement.decode(known.encode()) == known
    document = msgspec.json.decode(known.encode())
    del document["spent"]
    old = Settlement.decode(msgspec.json.encode(document))
    assert old == msgspec.structs.replace(known, spent=None)


async def test_a_rescued_attempt_adds_its_estimate_with_its_row_once(
    store: Store, publisher: Publisher, log: Log
) -> None:
    job = await claimed(store)
    holder = Holder(publisher, job.id)
    holder.start()
    holder.say("eight ch")
    assert await publisher.drain(5)
    await store.holds.renew({job.id: 1}, -1.0)

    async def wake(_id: str, _lane: str) -> bool:
        return True

    settings = Settings(lease_s=1.0, renew_s=0.3)
    leases = Leases(store.holds, settings.lease_s, settings.renew_s)
    sweep = Sweep(store, log, wake, leases, settings, Catalog((PRICED,)), lambda: None)

    async def rescued() -> bool:
        await sweep.turn()
        return (await store.jobs.get(job.id)).attempt == 2

    renewing = asyncio.create_task(leases.run())
    await until(rescued)
    renewing.cancel()
    await asyncio.wait([renewing])
    assert await cost(store, job.id) == 2.0
    (row,) = await store.jobs.attempts(job.id)
    await store.jobs.keep_lost(attempt(Job(id=job.id, attempt=row.number)), LAST)
    assert await cost(store, job.id) == 2.0


@pytest.mark.parametrize(("upstream", "spent"), [(PRICED, 2.0), (UNPRICED, None)])
async def test_a_cancelled_attempt_adds_its_estimate_where_its_price_is_known(
    store: Store, publisher: Publisher, log: Log, upstream: Upstream, spent: float | None
) -> None:
    job = await claimed(store)
    holder = Holder(publisher, job.id)
    holder.start()
    holder.say("eight ch")
    assert await publisher.drain(5)
    await cancel(job.id, store.jobs, log, Settings(), Catalog((upstream,)))
    assert await cost(store, job.id) == spent
