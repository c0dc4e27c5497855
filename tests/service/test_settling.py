"""An end outlives the database's absence: written again while the lease lasts, then spooled."""

import asyncio
import resource
import shutil
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from models import Job
from tests.jobs import NoBatches, attempt, ended, queue
from tests.proxy import Proxy
from tests.wire import until
from worker.channel.log import Log
from worker.errors import HoldLost
from worker.execution import Settling
from worker.leases import Hold, Leases, Stop
from worker.settings import Settings
from worker.spool import Spool, SpoolFolder
from worker.store import Settlement, Store, connect, fingerprint

LEASE_S, RENEW_S = 1.5, 0.3
LONG_S = 60.0


class Process:
    """What settles in one worker process."""

    def __init__(self, store: Store, redis: Redis, folder: SpoolFolder, lease_s: float) -> None:
        self.store = store
        self.leases = Leases(store.holds, lease_s, RENEW_S)
        self.spool = Spool(folder, store.holds, Log(redis), Settings())
        self.settling = Settling(store.holds, self.spool, lambda: None, NoBatches())

    async def hold(self, lane: str = "interactive") -> Hold:
        """A job that has just got its whole text."""
        hold = await self.leases.claim(await queue(self.store))
        assert hold is not None
        ended(hold.job, "every word of it")
        return hold

    async def settle(self, hold: Hold) -> bool:
        return await self.settling.settle(hold, attempt(hold.job))


def names(path: Path, pattern: str = "*.json") -> set[str]:
    """The spool's files."""
    return {file.name for file in path.glob(pattern)}


def modes(path: Path) -> tuple[str, set[str]]:
    """The modes of the folder and of its files."""
    found = {stat.filemode(file.stat().st_mode) for file in path.glob("*.json")}
    return stat.filemode(path.stat().st_mode), found


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    tasks = [asyncio.create_task(process.leases.run()), asyncio.create_task(process.spool.run())]
    try:
        yield process
        assert not any(task.done() for task in tasks), tasks
    finally:
        # More than once: redis-py has been seen to swallow a cancellation while it connects.
        while pending := [task for task in tasks if not task.done()]:
            for task in pending:
                task.cancel()
            await asyncio.wait(pending, timeout=0.1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the spool is to be."""
    return tmp_path / "spool" / "database"


@pytest.fixture
def folder(path: Path) -> SpoolFolder:
    """A spool with room."""
    return SpoolFolder(path, 100, 1_000_000)


def settlement(id: str = "job_0123456789abcdef", text: str = "every word") -> Settlement:
    job = ended(Job(id=id, attempt=1, unverified=False), text)
    return Settlement.of(job, attempt(job))


async def test_a_short_absence_is_waited_for(
    proxy: Proxy, us: Store, redis: Redis, folder: SpoolFolder
) -> None:
    async with running(Process(us, redis, folder, LONG_S)) as process:
        hold = await process.hold()
        await proxy.down()
        settling = asyncio.create_task(process.settle(hold))
        await asyncio.wait([settling], timeout=2)
        assert not settling.done()
        await proxy.up()
        assert await settling
        assert process.spool.kept == 0
    row = await us.jobs.get(hold.job.id)
    assert (row.state, row.output_text) == ("completed", "every word of it")
    assert len(await us.jobs.attempts(row.id)) == 1


async def test_an_absence_longer_than_the_lease_is_waited_for_in_the_spool(
    proxy: Proxy, us: Store, them: Store, redis: Redis, folder: SpoolFolder, path: Path
) -> None:
    async with running(Process(us, redis, folder, LEASE_S)) as process:
        hold = await process.hold()
        await proxy.down()
        assert not await process.settle(hold)
        assert modes(path) == ("drwx------", {"-rw-------"})
        row = await them.jobs.get(hold.job.id)
        assert (row.state, row.lease_owner) == ("in_progress", "us")
        assert await redis.exists(log_of(row)) == 0
        await proxy.up()
        await until(lambda: process.spool.settled == 1)
        await until(lambda: not names(path))
    row = await us.jobs.get(hold.job.id)
    assert (row.state, row.attempt, row.output_text) == ("completed", 1, "every word of it")
    assert row.output == ended(Job(), "every word of it").output
    (record,) = await us.jobs.attempts(row.id)
    assert record.started_at.tzinfo is not None
    entries: Any = await redis.xrange(log_of(row))
    ((id, fields),) = entries
    assert id.decode() == f"1-{row.length + 1}"
    assert fields[b"e"].startswith(b'{"type":"completed"')


def log_of(job: Job) -> str:
    return f"deltaworks:{{{job.id}}}:log"


async def test_a_job_that_was_rescued_meanwhile_is_left_to_its_new_holder(
    proxy: Proxy, us: Store, them: Store, redis: Redis, folder: SpoolFolder, path: Path
) -> None:
    async with running(Process(us, redis, folder, LEASE_S)) as process:
        hold = await process.hold()
        await proxy.down()
        assert not await process.settle(hold)

        async def is_rescued() -> bool:
            return bool(await them.sweeping.rescue(10))

        await until(is_rescued)
        await proxy.up()
        await until(lambda: process.spool.lost == 1)
        await until(lambda: not names(path))
        assert process.spool.settled == 0
    row = await them.jobs.get(hold.job.id)
    assert (row.state, row.attempt, row.output_text) == ("queued", 2, None)


async def test_what_a_dead_process_has_left_is_settled_by_the_next(
    proxy: Proxy, us: Store, them: Store, redis: Redis, folder: SpoolFolder, path: Path
) -> None:
    dead = Process(us, redis, folder, LEASE_S)
    hold = await dead.hold()
    await proxy.down()
    assert not await dead.settle(hold)
    (path / "job_half_written_000.1.part").write_bytes(b'{"id":')
    next_folder = SpoolFolder(path, 100, 1_000_000)
    async with running(Process(them, redis, next_folder, LEASE_S)) as process:
        await until(lambda: process.spool.settled == 1)
    assert (await them.jobs.get(hold.job.id)).output_text == "every word of it"


async def test_two_processes_settle_what_waits_once(
    proxy: Proxy, us: Store, them: Store, redis: Redis, folder: SpoolFolder, path: Path
) -> None:
    gone = Process(us, redis, folder, LONG_S)
    holds = [await gone.hold() for _ in range(20)]
    for hold in holds:
        await gone.spool.keep(Settlement.of(hold.job, attempt(hold.job)))
    first = Process(us, redis, SpoolFolder(path, 100, 1_000_000), LONG_S)
    second = Process(them, redis, SpoolFolder(path, 100, 1_000_000), LONG_S)
    async with running(first), running(second):
        await until(lambda: first.spool.settled + second.spool.settled >= 20)
        await until(lambda: not names(path))
    assert first.spool.settled + second.spool.settled == 20
    rows = await us.jobs.many(hold.job.id for hold in holds)
    assert {row.state for row in rows.values()} == {"completed"}


async def test_an_end_that_was_committed_after_all_is_settled_once(
    proxy: Proxy, us: Store, redis: Redis, folder: SpoolFolder
) -> None:
    async with running(Process(us, redis, folder, LEASE_S)) as process:
        hold = await process.hold()
        proxy.hold()  # the commit goes through, its answer does not
        assert not await process.settle(hold)
        proxy.release()
        await until(lambda: process.spool.settled == 1)
    assert len(await us.jobs.attempts(hold.job.id)) == 1
    assert (await us.jobs.get(hold.job.id)).state == "completed"


async def test_a_process_that_ends_spools_at_once(
    proxy: Proxy, us: Store, redis: Redis, folder: SpoolFolder
) -> None:
    process = Process(us, redis, folder, LONG_S)
    hold = await process.hold()
    await proxy.down()
    settling = asyncio.create_task(process.settle(hold))
    process.leases.stop(Stop.ALL)
    assert not await asyncio.wait_for(settling, 10)
    assert process.spool.kept == 1


@pytest.mark.parametrize("write", ["next_attempt", "defer"])
async def test_what_is_no_end_is_left_to_the_rescue(
    proxy: Proxy, us: Store, redis: Redis, folder: SpoolFolder, write: str
) -> None:
    async with running(Process(us, redis, folder, LEASE_S)) as process:
        hold = await process.hold()
        await proxy.down()
        record = attempt(hold.job)
        with pytest.raises(HoldLost):
            if write == "defer":
                await process.settling.defer(hold, None, None, record)
            else:
                await process.settling.next_attempt(hold, "failures", record)
        assert process.spool.kept == 0
        await proxy.up()
    assert (await us.jobs.get(hold.job.id)).attempt == 1


async def test_a_retry_waits_for_a_short_absence_and_is_charged_once(
    proxy: Proxy, us: Store, redis: Redis, folder: SpoolFolder
) -> None:
    async with running(Process(us, redis, folder, LONG_S)) as process:
        hold = await process.hold()
        proxy.cut_after_request(b"COMMIT")
        await process.settling.next_attempt(hold, "failures", attempt(hold.job))
    row = await us.jobs.get(hold.job.id)
    assert (row.attempt, row.failures, proxy.cuts) == (2, 1, 1)


async def test_a_full_spool_takes_no_more(path: Path, rows: Store, redis: Redis) -> None:
    few = Spool(SpoolFolder(path, 2, 1_000_000), rows.holds, Log(redis), Settings())
    kept = [await few.keep(settlement(f"job_000000000000000{n}")) for n in range(4)]
    assert (kept, few.kept, few.refused) == ([True, True, False, False], 2, 2)
    small = Spool(SpoolFolder(path, 100, 5_000), rows.holds, Log(redis), Settings())
    assert not await small.keep(settlement("job_0000000000000009", "x" * 5_000))
    assert len(names(path, "*")) == 2


async def test_a_spool_that_cannot_be_written_is_said_and_survived(
    tmp_path: Path, rows: Store, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "open").mkdir(mode=0o755)
    for place in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "open"):
        spool = Spool(SpoolFolder(place, 9, 9_999), rows.holds, Log(redis), Settings())
        assert not await spool.keep(settlement(text="a secret"))
        assert spool.refused == 1
    assert caplog.text.count("so it runs again") == 3
    assert "a secret" not in caplog.text


async def test_a_full_disk_leaves_nothing_half_written(
    path: Path, rows: Store, redis: Redis
) -> None:
    spool = Spool(SpoolFolder(path, 9, 9_999_999), rows.holds, Log(redis), Settings())
    with files_no_longer_than(4096):
        assert not await spool.keep(settlement(text="x" * 9_000))
    assert names(path, "*") == set()
    assert await spool.keep(settlement(text="x" * 9_000))


@contextmanager
def files_no_longer_than(size: int) -> Iterator[None]:
    """As near to a full disk as a process comes without one."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_a_file_that_cannot_be_settled_holds_up_no_other(
    folder: SpoolFolder, path: Path, rows: Store, redis: Redis
) -> None:
    process = Process(rows, redis, folder, LONG_S)
    hold = await process.hold()
    folder.write("broken.1", b'{"id": "job')
    folder.write("refused.1", settlement("refused").encode().replace(b"completed", b"sleeping"))
    hold.job.usage = {"total_tokens": 7}
    await process.spool.keep(Settlement.of(hold.job, attempt(hold.job)))
    async with running(process):
        await until(lambda: process.spool.settled == 1)
        await until(lambda: not names(path))
    assert names(path, "*.bad") == {"broken.1.bad"}
    assert (await rows.jobs.get(hold.job.id)).usage == {"total_tokens": 7}


async def test_without_redis_what_waits_is_settled_all_the_same(
    folder: SpoolFolder, rows: Store
) -> None:
    nowhere = Redis.from_url("redis://127.0.0.1:1", protocol=2)
    process = Process(rows, nowhere, folder, LONG_S)
    hold = await process.hold()
    await process.spool.keep(Settlement.of(hold.job, attempt(hold.job)))
    async with running(process):
        await until(lambda: process.spool.settled == 1)
    assert (await rows.jobs.get(hold.job.id)).state == "completed"
    await nowhere.aclose()


@pytest.mark.parametrize("patience_ms", [50, 60_000])
async def test_a_sqlite_that_another_process_has_locked_is_waited_for(
    sqlite_template: Path, tmp_path: Path, redis: Redis, folder: SpoolFolder, patience_ms: int
) -> None:
    url = f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'locked.db')}"
    us, them = Store(connect(url), "us"), Store(connect(url), "them")

    def impatient(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        connection.cursor().execute(f"PRAGMA busy_timeout = {patience_ms}")

    event.listen(us.engine.sync_engine, "connect", impatient)
    async with running(Process(us, redis, folder, LEASE_S)) as process:
        hold = await process.hold()
        async with them.engine.connect() as connection:
            await connection.exec_driver_sql("BEGIN IMMEDIATE")
            assert not await process.settle(hold)
            assert process.spool.kept == 1
            await connection.exec_driver_sql("ROLLBACK")
        await until(lambda: process.spool.settled == 1)
    assert (await them.jobs.get(hold.job.id)).output_text == "every word of it"
    assert len(await them.jobs.attempts(hold.job.id)) == 1
    for store in (us, them):
        await store.aclose()


def test_a_settlement_in_a_file_says_what_it_said() -> None:
    before = settlement(text="ünï 👩‍🚀 \u2028")
    assert Settlement.decode(before.encode()) == before


def test_a_spool_belongs_to_one_database_whoever_uses_it() -> None:
    def of(url: str) -> str:
        return fingerprint(connect(url).url)

    known = of("postgresql://one:secret@db/jobs")
    assert known == of("postgresql+psycopg://two:other@db/jobs")
    assert known != of("postgresql://one:secret@db/others")
    assert of("sqlite:///jobs.db") == of(f"sqlite:///{Path('jobs.db').absolute()}")
