"""The database crashes, refuses writes, or is cut off at a commit: what was paid for is saved."""

import asyncio
import resource

import psycopg
import pytest

from tests.faults.scene import LEASE_S, Scene
from tests.proxy import Proxy
from tests.servers import PostgresServer
from tests.wire import until

# Ends after a second and a half, in the middle of what befalls the database.
MIDDLING = "sim?tokens=75&rate=50&vary=1"
pytestmark = pytest.mark.xdist_group("mortal postgres")


async def test_a_database_that_crashes_again_and_again_loses_no_end(
    on_postgres: Scene, mortal_postgres: PostgresServer
) -> None:
    scene = on_postgres
    scene.lease(20)
    await scene.employ(2)
    async with scene.load() as load:
        for _ in range(3):
            await load.submit(10)
            await asyncio.sleep(scene.random.uniform(0.3, 0.9))
            with scene.injury():
                mortal_postgres.stop(immediate=True)
                await asyncio.sleep(scene.random.uniform(0.2, 0.8))
                mortal_postgres.start()
        scene.let_time_pass(60)

    # No lease was lost to it, so nobody was asked twice.
    assert scene.figures.requests == scene.figures.jobs


async def test_a_database_that_is_away_for_longer_than_a_lease_gets_the_ends_from_the_spool(
    on_postgres: Scene, mortal_postgres: PostgresServer
) -> None:
    scene = on_postgres
    # Each stream ends while its lease can be trusted, and the database stays away longer.
    lease_s = 2 * LEASE_S
    scene.lease(lease_s)
    await scene.employ(2)
    async with scene.load() as load:
        await load.submit(20, MIDDLING)
        await load.running(20)
        with scene.injury():
            mortal_postgres.stop(immediate=True)
            await asyncio.sleep(1.5 * lease_s)
            mortal_postgres.start()

    printed = "".join(scene.evidence.printed.values())
    assert printed.count("its end waits in the spool") > 0
    assert printed.count("reason=spooled") > 0


async def test_a_disk_that_is_full_costs_a_second_run_and_no_job(
    on_postgres: Scene, mortal_postgres: PostgresServer
) -> None:
    scene = on_postgres
    await scene.employ(1)
    (worker,) = scene.workers
    async with scene.load() as load:
        await load.submit(10, MIDDLING)
        # Claimed is not yet asked: before that they ask the database once more.
        await until(lambda: len(scene.stack.record()) == 10)
        with scene.injury():
            # Of its files, the log among them, none can grow: every write fails.
            _, hard = resource.prlimit(worker.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (0, hard))
            mortal_postgres.stop(immediate=True)
            await asyncio.sleep(1.5 * LEASE_S)
            mortal_postgres.start()
            await load.submit(4)
        await load.open_at_most(0)
        resource.prlimit(worker.pid, resource.RLIMIT_FSIZE, (hard, hard))

    assert worker.popen.poll() is None
    assert scene.figures.requests > scene.figures.jobs


async def test_a_database_that_refuses_to_write_holds_jobs_up_and_loses_none(
    on_postgres: Scene, mortal_postgres: PostgresServer
) -> None:
    scene = on_postgres
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(10, MIDDLING)
        await load.running(10)
        with scene.injury():
            read_only(mortal_postgres, True)
            await asyncio.sleep(scene.random.uniform(1.0, 2.0))
            read_only(mortal_postgres, False)
        await load.submit(4)


async def test_a_connection_that_breaks_at_the_commit_writes_an_end_once(
    on_postgres: Scene,
) -> None:
    scene = on_postgres
    scene.lease(20)
    async with Proxy(scene.database_url) as proxy:
        await scene.employ(1, DELTAWORKS_DATABASE_URL=proxy.url)
        async with scene.load() as load:
            for _ in range(5):
                await load.submit(4)
                await load.running(1)
                with scene.injury():
                    proxy.cut_after_request(b"COMMIT")
                    await load.open_at_most(0)

        assert proxy.cuts >= 3
    assert scene.figures.requests == scene.figures.jobs


def read_only(server: PostgresServer, on: bool) -> None:
    """Have the server refuse all writes, also on connections that are open."""
    url = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
    own = "-c default_transaction_read_only=off"
    with psycopg.connect(url, options=own, autocommit=True) as connection:
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {on}".encode())
        connection.execute("SELECT pg_reload_conf()")
