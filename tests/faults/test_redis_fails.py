"""Redis restarts, forgets, is full, or hangs: what it holds may be lost, and no job with it."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import redis
from redis.asyncio import Redis

from tests.faults.scene import Scene
from tests.servers import RedisServer

LONG = "sim?tokens=150&rate=50&vary=1"
# An answer of some 200,000 characters, in as many writes as the socket takes.
HUGE = "sim-fast?tokens=40000"


@contextmanager
def full(server: RedisServer) -> Iterator[None]:
    """No command that needs memory is carried out meanwhile."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        yield
        client.config_set("maxmemory", "0")


async def test_a_channel_that_restarts_in_mid_stream_is_written_anew(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(12, LONG)
        await load.submit(1, HUGE)
        await load.running(12)
        for forgets in (True, False, True):
            await asyncio.sleep(scene.random.uniform(0.3, 0.7))
            with scene.injury():
                scene.channel.restart(wipe=forgets)

    # It is the channel that broke: nobody was asked again for text that had come.
    assert scene.figures.requests == scene.figures.jobs


async def test_a_broker_that_forgets_everything_loses_no_job(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(8, LONG)
        await load.running(8)
        scene.workers[0].send(signal.SIGSTOP)
        await load.submit(10)
        with scene.injury():
            scene.broker.restart(wipe=True)
        scene.workers[0].send(signal.SIGCONT)
        scene.let_time_pass(60)

    assert scene.figures.resent >= 5  # some had reached the worker


async def test_a_broker_that_is_away_for_a_while_ends_no_worker_and_no_stream(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(8, LONG)
        await load.running(8)
        with scene.injury():
            scene.broker.stop()
            await asyncio.to_thread(scene.workers[0].await_print, "Connection to broker lost")
            await asyncio.to_thread(scene.workers[0].await_print, "consumer: Cannot connect to")
            scene.broker.start()
        scene.let_time_pass(60)

    assert scene.workers[0].popen.poll() is None
    assert scene.figures.requests == scene.figures.jobs


async def test_a_channel_that_is_full_holds_up_nothing_but_itself(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with scene.load() as load:
        await load.submit(10, LONG)
        await load.running(10)
        with scene.injury(), full(scene.channel):
            await load.submit(10)
            await asyncio.sleep(scene.random.uniform(1, 2))

    assert all(worker.popen.poll() is None for worker in scene.workers)


async def test_a_broker_that_is_full_may_end_workers_but_no_job(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(2)
    async with scene.load() as load:
        await load.submit(10)
        with scene.injury(), full(scene.broker):
            await load.submit(10)
            await asyncio.sleep(scene.random.uniform(1, 2))
        scene.revive()
        # The second wake-up may have ended with a worker, too: the third comes two minutes later.
        scene.let_time_pass(120)
        await load.open_at_most(0)
        await asyncio.sleep(0.5)
        scene.revive()


async def test_a_redis_that_hangs_for_a_moment_delays_and_loses_nothing(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    channel, broker = Redis.from_url(scene.channel.url), Redis.from_url(scene.broker.url)
    async with scene.load() as load, channel, broker:
        await load.submit(12, LONG)
        await load.running(12)
        for client in (channel, broker):
            with scene.injury():
                await client.client_pause(int(scene.random.uniform(800, 1600)))
                await asyncio.sleep(0.4)
                await load.submit(4)
        with scene.injury():
            await sleeps(channel)

    assert scene.figures.requests == scene.figures.jobs


async def sleeps(client: Redis) -> None:
    """Its one thread does nothing for a second."""
    await client.execute_command("DEBUG", "SLEEP", "1")
