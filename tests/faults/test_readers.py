"""Readers by the hundred, slow ones, and connections that are cut: each holds the whole text."""

import asyncio

import redis
from redis.asyncio import Redis

from tests.faults.evidence import ending
from tests.faults.scene import Scene
from worker.channel.events import START, encode
from worker.channel.log import channel_name

# Four seconds, 200 deltas in each.
STREAM = "sim?tokens=800&rate=200&vary=1"
# Three seconds, up to 1,500 messages in each.
TORRENT = "sim?tokens=4500&rate=1500"
READERS = 150


async def test_readers_whose_connection_is_killed_again_and_again_miss_nothing(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    channel = Redis.from_url(scene.channel.url, protocol=2)
    async with scene.load() as load, channel:
        (watched,) = await load.submit(1, STREAM, ending("completed", requests=1), readers=READERS)
        await load.submit(30, "sim?tokens=400&rate=100", ending("completed", requests=1))
        while await load.open():
            # Some join meanwhile.
            load.follow(watched)
            await asyncio.sleep(0.5)
            with scene.injury():
                await channel.client_kill_filter(_type="pubsub")

    assert scene.figures.injuries >= 5


async def test_a_slow_reader_holds_up_nobody_and_costs_redis_nothing(on_sqlite: Scene) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    async with (
        scene.load() as load,
        scene.stack.reader() as elsewhere,
        Redis.from_url(scene.channel.url, protocol=2) as channel,
    ):
        (job,) = await load.submit(1, TORRENT, ending("completed", requests=1), readers=20)
        slow: list[bytes] = []
        most = 0
        async for event in elsewhere.follower.follow(job, START):
            slow.append(encode(event))
            if len(slow) % 100 == 5:
                # Meanwhile more comes than is kept for it: it has to read the log.
                await asyncio.sleep(scene.random.uniform(0.5, 1.0))
                clients = await channel.client_list(_type="pubsub")
                most = max(most, *(int(client["omem"]) for client in clients))
        load.also_heard(job, slow)

    assert most < 1_000_000


async def test_a_raw_subscriber_that_reads_nothing_is_cut_off_by_redis_and_by_nobody_else(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    await scene.employ(1)
    with redis.Redis.from_url(scene.channel.url) as channel:
        channel.config_set("client-output-buffer-limit", "pubsub 256kb 128kb 1")
        deaf = channel.pubsub()
        async with scene.load() as load:
            ids = await load.submit(
                4, "sim-fast?tokens=60000", ending("completed", requests=1), readers=2
            )
            deaf.subscribe(*(channel_name(id) for id in ids))
            await load.open_at_most(0)
        deaf.close()
