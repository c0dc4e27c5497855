"""Leases: renewed together, lost when somebody took over, never trusted beyond their end."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from models import Job, schema
from tests.jobs import attempt, claimed, ended, failed, queue
from tests.servers import PostgresServer
from tests.service.conftest import OpenStore
from tests.wire import until
from worker.errors import HoldLost, HoldOver
from worker.leases import Hold, Leases, Stop
from worker.store import Store, connect

LEASE_S, RENEW_S = 1.0, 0.25


@asynccontextmanager
async def renewing(store: Store, lease_s: float = LEASE_S) -> AsyncIterator[Leases]:
    """Leases that are being renewed."""
    leases = Leases(store.holds, lease_s, RENEW_S if lease_s == LEASE_S else 0.02)
    task = asyncio.create_task(leases.run())
    yield leases
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def hold(leases: Leases, store: Store) -> Hold:
    found = await leases.claim(await queue(store, prompt=str(datetime.now(UTC))))
    assert found is not None
    return found


async def stream_until_lost(hold: Hold) -> datetime:
    """What a stream does that never ends; when it was stopped."""
    with pytest.raises(HoldLost), hold.interruptible():
        await asyncio.Event().wait()
    return datetime.now(UTC)


async def lease_until(store: Store, hold: Hold) -> datetime:
    moment = (await store.jobs.get(hold.job.id)).lease_until
    assert moment is not None
    return moment


async def test_leases_are_renewed_while_the_hold_lasts(store: Store) -> None:
    async with renewing(store, 60) as leases:
        held = [await hold(leases, store) for _ in range(3)]
        before = [await lease_until(store, each) for each in held]
        async with asyncio.timeout(10):
            for each, first in zip(held, before, strict=True):
                while await lease_until(store, each) <= first:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
        assert not any(each.is_lost() for each in held)
        assert leases.database_up_s() > 0
        assert leases.held.keys() == {each.job.id for each in held}


async def test_a_hold_that_was_taken_over_is_lost_at_the_next_renewal(
    open_store: OpenStore,
) -> None:
    us, them = open_store("us"), open_store("them")
    async with renewing(us, 60) as leases:
        ours = await hold(leases, us)
        await them.jobs.cancel(ours.job.id)
        async with asyncio.timeout(5):
            await stream_until_lost(ours)


async def test_a_hold_whose_attempt_its_own_process_raises_is_kept(store: Store) -> None:
    async with renewing(store, 60) as leases:
        ours = await hold(leases, store)
        # The row says 2 while the process, whose statement is just returning, says 1.
        assert await failed(store.holds, attempt(ours.job))
        before = await lease_until(store, ours)
        async with asyncio.timeout(10):
            while await lease_until(store, ours) <= before:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert not ours.is_lost()


async def test_a_job_that_comes_back_to_its_own_process_is_held_once(store: Store) -> None:
    leases = Leases(store.holds, 60, 60)
    first = await hold(leases, store)
    await store.holds.renew({first.job.id: 1}, -1.0)
    await store.sweeping.rescue(10)
    second = await leases.claim(first.job.id)
    assert second is not None
    assert (first.is_lost(), second.is_lost(), second.job.attempt) == (True, False, 3)
    leases.release(first)
    assert leases.held == {second.job.id: second}
    leases.release(second)
    assert not leases.held


async def test_a_released_job_is_neither_renewed_nor_lost(store: Store) -> None:
    async with renewing(store, 60) as leases:
        ours, other = await hold(leases, store), await hold(leases, store)
        leases.release(ours)
        before, others = await lease_until(store, ours), await lease_until(store, other)
        async with asyncio.timeout(10):
            while await lease_until(store, other) <= others:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert await lease_until(store, ours) == before
        assert not ours.is_lost()


async def test_losing_stops_what_is_interruptible_and_nothing_else(store: Store) -> None:
    ours = Hold(await claimed(store))

    async def work() -> str:
        with ours.interruptible():
            pass
        ours.lose()
        ours.lose()
        await asyncio.sleep(0)
        with pytest.raises(HoldLost), ours.interruptible():
            raise AssertionError("a lost hold lets nobody in")
        async with asyncio.timeout(10):
            await asyncio.sleep(0)
        return "went on"

    assert await asyncio.create_task(work()) == "went on"


async def test_a_task_cancelled_while_its_hold_is_lost_stays_cancelled(store: Store) -> None:
    ours = Hold(await claimed(store))
    entered = asyncio.Event()

    async def stream() -> None:
        with ours.interruptible():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stream())
    await entered.wait()
    ours.lose()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_what_waits_is_stopped_first_and_streams_when_all_is(store: Store) -> None:
    leases = Leases(store.holds, 60, 60)
    waiting, streaming = await hold(leases, store), await hold(leases, store)
    inside: list[Hold] = []

    async def block(held: Hold, is_wait: bool) -> None:
        with pytest.raises(HoldOver), held.interruptible(waiting=is_wait):
            inside.append(held)
            await asyncio.Event().wait()

    blocks = [
        asyncio.create_task(block(waiting, True)),
        asyncio.create_task(block(streaming, False)),
    ]
    await until(lambda: len(inside) == 2)
    leases.stop(Stop.WAITS)
    await blocks[0]
    assert leases.draining and not blocks[1].done()
    with pytest.raises(HoldOver), waiting.interruptible(waiting=True):
        raise AssertionError("a process that ends lets nobody wait")
    leases.stop(Stop.ALL)
    await blocks[1]
    assert not waiting.is_lost() and not streaming.is_lost()


async def test_a_process_that_ends_or_is_late_leaves_jobs_to_others(store: Store) -> None:
    leases = Leases(store.holds, 60, 60)
    id = await queue(store)
    leases.late = True
    assert await leases.claim(id) is None
    row = await store.jobs.get(id)
    assert (row.state, row.attempt) == ("queued", 0)
    assert [due.id for due in await store.sweeping.due(10)] == [id]
    leases.late = False
    found = await leases.claim(id)
    assert found is not None
    leases.stop(Stop.WAITS)
    other = await queue(store, prompt="other")
    assert await leases.claim(other) is None
    assert [due.id for due in await store.sweeping.due(10)] == [other]
    leases.release(found)


@pytest.fixture(scope="module")
def private_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL that this module's tests stop, start and freeze."""
    with TemporaryDirectory(prefix="dw-pg-") as folder, PostgresServer(Path(folder)) as server:
        yield server


@pytest.fixture
async def fragile(private_postgres: PostgresServer) -> AsyncIterator[Store]:
    """A store on the PostgreSQL that may be stopped."""
    url = private_postgres.create_database()
    schema.upgrade(url)
    store = Store(connect(url), "us")
    yield store
    await store.aclose()


def signal_all(server: PostgresServer, number: int) -> None:
    parent = psutil.Process(server.pid)
    for process in (parent, *parent.children()):
        os.kill(process.pid, number)


async def test_without_a_database_streams_stop_before_their_leases_end(
    fragile: Store, private_postgres: PostgresServer
) -> None:
    async with renewing(fragile) as leases:
        held = [await hold(leases, fragile) for _ in range(3)]
        streams = [asyncio.create_task(stream_until_lost(each)) for each in held]
        await until(lambda: leases.database_up_s() > 0)
        private_postgres.stop(immediate=True)
        stopped = await asyncio.gather(*streams)
        assert leases.database_up_s() == 0
        private_postgres.start()
        for moment, each in zip(stopped, held, strict=True):
            assert moment < await lease_until(fragile, each)
        await until(lambda: leases.database_up_s() > 0)
        later = await hold(leases, fragile)
        assert await fragile.holds.settle(ended(later.job), None)


async def test_a_database_that_hangs_does_not_keep_streams_beyond_their_leases(
    fragile: Store, private_postgres: PostgresServer
) -> None:
    async with renewing(fragile) as leases:
        early = await hold(leases, fragile)
        streams = [asyncio.create_task(stream_until_lost(early))]
        await until(lambda: leases.database_up_s() > 0)
        late = await hold(leases, fragile)
        streams.append(asyncio.create_task(stream_until_lost(late)))
        signal_all(private_postgres, signal.SIGSTOP)
        frozen_at = datetime.now(UTC)
        try:
            async with asyncio.timeout(10):
                stopped = await asyncio.gather(*streams)
        finally:
            signal_all(private_postgres, signal.SIGCONT)
        # No lease can have been extended after the database froze, as far as the holder knows.
        for moment in stopped:
            assert (moment - frozen_at).total_seconds() < LEASE_S
        await until(lambda: leases.database_up_s() > 0)


async def test_nonsense_that_is_claimed_at_the_same_moment_costs_nobody_a_job(
    store: Store,
) -> None:
    ids: list[Any] = [await queue(store, prompt=str(n)) for n in range(3)]
    nonsense: list[Any] = [7, {"id": ids[0]}, "\x00\ud800"]
    wanted = [ids[0], *nonsense, *ids[1:]]
    found = await asyncio.gather(
        *(store.holds.claim(id, 30) for id in wanted), return_exceptions=True
    )
    assert [job.id for job in found if isinstance(job, Job)] == ids
