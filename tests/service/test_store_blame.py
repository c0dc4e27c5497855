"""Whom a process's death is charged to: the suspect it ran, else all it held; three are poison."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, func, insert, select, update

from models import Death, Job
from tests.jobs import queue
from tests.service.conftest import OpenStore
from worker.leases import Leases
from worker.store import Store

MINUTE_S = 60.0


async def hold(store: Store, *ids: str, lease_s: float = -1) -> None:
    """Claim the jobs; the lease is over where nothing else is said."""
    for id in ids:
        assert await store.holds.claim(id, lease_s, suspect=True)


async def queued(store: Store, crashes: int = 0) -> str:
    id = await queue(store, prompt=str(datetime.now(UTC)))
    await change(store, id, crashes=crashes)
    return id


async def change(store: Store, id: str, **columns: object) -> None:
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(columns))


async def dead(store: Store, count: int, ago_s: float = 1, **columns: object) -> None:
    """Other processes have died."""
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    rows = [{"owner": f"dead-{ago_s}-{n}", "at": at, **columns} for n in range(count)]
    async with store.engine.begin() as connection:
        await connection.execute(insert(Death), rows)


async def rescue(store: Store, limit: int = 100) -> dict[str, Job]:
    return {job.id: job for job in await store.sweeping.rescue(limit, MINUTE_S)}


async def test_without_a_suspect_each_job_is_charged_once(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    ids = [await queued(us, crashes) for crashes in (0, 0, 1)]
    await hold(us, *ids)
    assert [(job.crashes, job.state) for job in (await rescue(sweep)).values()] == [
        (1, "queued"),
        (1, "queued"),
        (2, "queued"),
    ]


async def test_a_suspect_is_charged_and_its_neighbours_are_not(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect, neighbour, other = await queued(us, 2), await queued(us), await queued(us, 1)
    await hold(us, suspect, neighbour, other)
    jobs = await rescue(sweep)
    assert {id: job.crashes for id, job in jobs.items()} == {suspect: 3, neighbour: 0, other: 1}
    poison = jobs[suspect]
    assert (poison.state, poison.error_category, poison.attempt) == ("failed", "poison", 2)
    assert poison.error_message == "3 worker processes died while they ran this job"
    assert poison.finished_at and poison.lease_owner is None
    assert {jobs[neighbour].state, jobs[other].state} == {"queued"}
    assert await sweep.holds.claim(suspect, 30, suspect=True) is None


async def test_a_lease_that_expires_later_is_judged_by_the_same_death(
    open_store: OpenStore,
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect, neighbour = await queued(us, 2), await queued(us)
    await hold(us, suspect)
    await hold(us, neighbour, lease_s=60)
    assert set(await rescue(sweep)) == {suspect}
    await us.holds.renew({neighbour: 1}, -1)
    assert (await rescue(sweep))[neighbour].crashes == 0


async def test_a_suspect_whose_lease_expires_last_is_still_the_one(open_store: OpenStore) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect, neighbour = await queued(us, 2), await queued(us)
    await hold(us, neighbour)
    await hold(us, suspect, lease_s=60)
    assert (await rescue(sweep))[neighbour].crashes == 0
    await us.holds.renew({suspect: 1}, -1)
    assert (await rescue(sweep))[suspect].state == "failed"


@pytest.mark.parametrize(("deaths", "charged"), [(1, True), (2, False), (30, False)])
async def test_where_processes_die_without_a_suspect_none_is_charged(
    open_store: OpenStore, deaths: int, charged: bool
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect, neighbour = await queued(us, 2), await queued(us)
    await dead(us, deaths)
    await hold(us, suspect, neighbour)
    jobs = await rescue(sweep)
    assert jobs[suspect].state == ("failed" if charged else "queued")
    assert jobs[suspect].crashes == 2 + charged
    assert jobs[neighbour].crashes == 0


@pytest.mark.parametrize(("deaths", "charged"), [(1, True), (2, False)])
async def test_a_process_that_was_late_and_lived_is_judged_anew_when_it_dies(
    open_store: OpenStore, deaths: int, charged: bool
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    late = await queued(us)
    await hold(us, late)
    assert (await rescue(sweep))[late].crashes == 1
    await dead(us, deaths)
    suspect, neighbour = await queued(us, 2), await queued(us, 1)
    await hold(us, suspect, neighbour)
    jobs = await rescue(sweep)
    assert jobs[suspect].state == ("failed" if charged else "queued")
    assert jobs[suspect].crashes == 2 + charged
    assert jobs[neighbour].crashes == 1


async def test_deaths_that_are_others_suspects_or_its_own_or_old_do_not_excuse_a_suspect(
    open_store: OpenStore,
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect = await queued(us, 2)
    await dead(us, 5, ago_s=1, suspect="another")
    await dead(us, 5, ago_s=2, only=suspect)
    await dead(us, 5, ago_s=MINUTE_S + 5)
    await hold(us, suspect)
    assert (await rescue(sweep))[suspect].state == "failed"
    async with us.engine.connect() as connection:
        assert await connection.scalar(select(func.count()).select_from(Death)) == 11


async def test_a_job_alone_in_its_process_is_poison_after_three_deaths(
    open_store: OpenStore,
) -> None:
    sweep = open_store("sweep")
    id = await queued(sweep)
    for crashes in (1, 2, 3):
        await hold(open_store(f"us-{crashes}"), id)
        job = (await rescue(sweep))[id]
        assert job.crashes == crashes
    assert (job.state, job.error_category) == ("failed", "poison")


async def test_a_job_that_was_alone_aboard_is_not_blamed_where_idle_processes_die_too(
    open_store: OpenStore,
) -> None:
    sweep = open_store("sweep")
    id = await queued(sweep)
    for crashes in range(6):
        holder, idle = open_store(f"us-{crashes}"), open_store(f"idle-{crashes}")
        await holder.holds.present(-1)
        await idle.holds.present(-1)
        await hold(holder, id)
        assert len(await sweep.sweeping.notice_deaths()) == 2
        job = (await rescue(sweep))[id]
        assert (job.state, job.crashes) == ("queued", min(crashes + 1, 2))
    assert await sweep.sweeping.notice_deaths() == []


@pytest.mark.parametrize(("cleared", "charged"), [(1, True), (2, False)])
async def test_where_suspects_live_to_their_end_another_one_is_not_charged(
    open_store: OpenStore, cleared: int, charged: bool
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    now = datetime.now(UTC)
    for _ in range(cleared):
        await change(us, await queued(us, 2), state="completed", finished_at=now)
    old = now - timedelta(seconds=MINUTE_S + 5)
    await change(us, await queued(us, 2), state="completed", finished_at=old)
    await change(us, await queued(us, 3), state="failed", finished_at=now)
    suspect = await queued(us, 2)
    await dead(us, 30, suspect="another")
    await hold(us, suspect)
    assert (await rescue(sweep))[suspect].crashes == 2 + charged


async def test_a_death_noticed_by_the_process_is_the_one_its_jobs_are_judged_by(
    open_store: OpenStore,
) -> None:
    us, sweep = open_store("us"), open_store("sweep")
    suspect, neighbour = await queued(us, 2), await queued(us)
    await us.holds.present(-1)
    await hold(us, suspect, neighbour)
    assert await sweep.sweeping.notice_deaths() == ["us"]
    assert {id: job.crashes for id, job in (await rescue(sweep)).items()} == {
        suspect: 3,
        neighbour: 0,
    }


async def test_a_process_that_lives_or_ended_by_itself_is_no_death(open_store: OpenStore) -> None:
    us, them, sweep = open_store("us"), open_store("them"), open_store("sweep")
    await us.holds.present(-1)
    await us.holds.present(60)
    await them.holds.present(-1)
    await them.holds.leave_for_good()
    assert await sweep.sweeping.notice_deaths() == []


async def test_many_sweeps_at_once_charge_a_process_once(open_store: OpenStore) -> None:
    sweeps = [open_store(f"sweep-{n}") for n in range(4)]
    expected: dict[str, int] = {}
    for number in range(12):
        owner = open_store(f"us-{number:02}")
        neighbours = [await queued(owner) for _ in range(6)]
        expected |= dict.fromkeys(neighbours, number % 2)
        await hold(owner, *neighbours)
        if number % 2 == 0:
            suspect = await queued(owner, 2)
            expected[suspect] = 2
            await hold(owner, suspect)
    found: dict[str, int] = {}
    while len(found) < len(expected):
        for jobs in await asyncio.gather(*(rescue(sweep, 5) for sweep in sweeps)):
            assert not found.keys() & jobs.keys()
            found |= {id: job.crashes for id, job in jobs.items()}
    # Six processes have died without a suspect.
    innocent = {id: n for id, n in expected.items() if n < 2}
    assert {id: found[id] for id in innocent} == innocent


async def test_a_process_runs_one_suspect_at_a_time(store: Store) -> None:
    leases = Leases(store.holds, 60, 20, 7.0)
    first, second, plain = await queued(store, 2), await queued(store, 2), await queued(store)
    held = await asyncio.gather(*(leases.claim(id) for id in (first, second, plain)))
    running = [hold for hold in held if hold is not None]
    assert len(running) == 2 and held[2] is not None
    waiting = await store.jobs.get(second if held[0] else first)
    assert (waiting.state, waiting.attempt, waiting.crashes) == ("queued", 0, 2)
    due_s = (waiting.wake_at - datetime.now(UTC)).total_seconds()
    assert 4 < due_s <= 7
    leases.release(running[0])
    later = await leases.claim(waiting.id)
    assert later is not None
    for hold in (later, running[1]):
        leases.release(hold)


@pytest.mark.parametrize(
    ("begins", "index"),
    [
        ("INSERT INTO deaths", "ix_jobs_owner"),
        ("DELETE FROM deaths", "ix_deaths_at"),
        ("SELECT jobs.id \nFROM jobs \nWHERE jobs.crashes", "ix_jobs_suspects"),
    ],
)
async def test_a_death_is_recorded_by_index(
    store: Store, backend: str, begins: str, index: str
) -> None:
    await dead(store, 2000, ago_s=1)
    lost = await queued(store)
    await hold(store, lost)
    for _ in range(3):
        await hold(store, await queued(store), lease_s=60)
    seen: list[tuple[str, Any]] = []
    event.listen(
        store.engine.sync_engine,
        "before_cursor_execute",
        lambda _c, _k, statement, values, _x, _m: seen.append((statement, values)),
    )
    await rescue(store)
    statement, values = next(one for one in seen if one[0].startswith(begins))
    explain = "EXPLAIN QUERY PLAN " if backend == "sqlite" else "EXPLAIN "
    async with store.engine.connect() as connection:
        if backend == "postgresql":  # three rows are read faster without an index
            await connection.exec_driver_sql("SET enable_seqscan = off")
        rows = await connection.exec_driver_sql(explain + statement, values)
        assert index in "\n".join(str(row[-1]) for row in rows)
        if backend == "postgresql":
            await connection.exec_driver_sql("RESET enable_seqscan")
    async with store.engine.begin() as connection:
        await connection.execute(delete(Death))
