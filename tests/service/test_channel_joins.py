"""Two hundred readers join at any moment with any cursor, and each gets exactly the saved text."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from random import Random

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.jobs import attempt, claimed, failed
from tests.reader import Reader
from tests.servers import RedisServer
from tests.streams import (
    Holder,
    chunk,
    fast_failing,
    flow,
    following,
    publishing,
    rich_chunks,
)
from worker.channel.events import START, Cursor, encode
from worker.channel.follow import Follower
from worker.channel.log import log_key
from worker.channel.publisher import Publisher
from worker.store import Store

JOBS, READERS, RESTARTS = 25, 7, 4
# Where a stream stands, so that tests of many streams interleave: as long as one network read.
READ_S = 0.002


class Stream:
    """One job that is being streamed, and where its first reader has been."""

    def __init__(self, random: Random, job: str) -> None:
        self.random = random
        self.job = job
        self.cursors = [START]
        self.ended = asyncio.Event()

    async def run(self, publisher: Publisher, store: Store, redis: Redis) -> None:
        """Stream the job, sometimes in two attempts; forget its log sometimes."""
        holder = Holder(publisher, self.job)
        if self.random.random() < 0.4:
            holder.start()
            await self._say(holder)
            record = attempt(holder.row())
            assert await failed(store.holds, record)
            holder.retry()
            holder = Holder(publisher, self.job, attempt=2)
        holder.start()
        await self._say(holder)
        await holder.settle(store)
        self.ended.set()
        if self.random.random() < 0.3:
            await publisher.drain(10)
            with suppress(RedisError):
                await redis.delete(log_key(self.job))

    async def _say(self, holder: Holder) -> None:
        plain = [chunk(content=f"word {number} 👩‍🚀 ") for number in range(20)]
        for each in rich_chunks(self.random) if self.random.random() < 0.6 else plain:
            holder.take(each)
            await asyncio.sleep(READ_S)

    async def lead(self, follower: Follower) -> Reader:
        """The first reader, from the start; where it has been, the others begin."""
        reader = Reader()
        async for event in follower.follow(self.job):
            reader.hear(encode(event))
            self.cursors.append(event.cursor)
        return reader

    async def join(self, follower: Follower) -> tuple[Reader, int]:
        """A reader that joins some time later; and from which offset of which attempt."""
        if self.random.random() < 0.3:
            await self.ended.wait()
        await asyncio.sleep(self.random.random() * 0.15)
        cursor = self._any_cursor()
        reader = Reader(*cursor)
        async for event in follower.follow(self.job, cursor):
            reader.hear(encode(event))
        began = cursor.offset if cursor.attempt == reader.attempt else 0
        return reader, began

    def _any_cursor(self) -> Cursor:
        """A cursor that a reader may hold, in the middle of what was one piece, too."""
        place = self.random.randrange(len(self.cursors))
        cursor = self.cursors[place]
        before = self.cursors[place - 1] if place else START
        if before.attempt == cursor.attempt and before.offset < cursor.offset:
            return Cursor(cursor.attempt, self.random.randint(before.offset, cursor.offset))
        return cursor


@pytest.fixture
async def client(private_redis: RedisServer) -> AsyncIterator[Redis]:
    async with fast_failing(private_redis.url) as client:
        yield client


async def assert_all_get_the_saved_text(client: Redis, rows: Store, seed: int) -> None:
    random = Random(seed)
    jobs = [await claimed(rows) for _ in range(JOBS)]
    streams = [Stream(Random(random.random()), job.id) for job in jobs]
    async with (
        publishing(client) as publisher,
        following(client, rows, 0.2) as one,
        following(client, rows, 0.2) as other,
        asyncio.timeout(60),
    ):
        leaders = [asyncio.create_task(stream.lead(one)) for stream in streams]
        joiners = [
            asyncio.create_task(stream.join(random.choice((one, other))))
            for stream in streams
            for _ in range(READERS)
        ]
        await asyncio.gather(*(stream.run(publisher, rows, client) for stream in streams))
        led, joined = await asyncio.gather(asyncio.gather(*leaders), asyncio.gather(*joiners))
    saved = {job.id: flow(await rows.jobs.get(job.id)) for job in jobs}
    for stream, reader in zip(streams, led, strict=True):
        assert reader.flow == saved[stream.job]
        assert reader.types[-1] == "completed"
    for number, (reader, began) in enumerate(joined):
        whole = saved[streams[number // READERS].job]
        # Who came with the closing id has nothing more to hear.
        assert reader.flow == whole[began:]
        assert reader.types[-1:] == (["completed"] if began <= len(whole) else [])


async def test_every_reader_gets_the_saved_text(client: Redis, rows: Store) -> None:
    await assert_all_get_the_saved_text(client, rows, seed=1)


async def test_every_reader_gets_the_saved_text_though_its_connection_is_killed(
    client: Redis, private_redis: RedisServer, rows: Store
) -> None:
    async def kill() -> None:
        while True:
            with suppress(RedisError):
                await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            # Longer than a busy machine takes to connect anew, at least now and then.
            await asyncio.sleep(random.uniform(0.01, 0.15))

    killing = asyncio.create_task(kill())
    try:
        await assert_all_get_the_saved_text(client, rows, seed=2)
    finally:
        killing.cancel()
        await asyncio.wait([killing])


@pytest.mark.parametrize("wipe", [True, False])
async def test_every_reader_gets_the_saved_text_though_redis_is_restarted(
    client: Redis, private_redis: RedisServer, rows: Store, wipe: bool
) -> None:
    running = True

    def restart() -> None:
        for _ in range(RESTARTS):
            if running:
                private_redis.restart(wipe=wipe)

    restarting = asyncio.create_task(asyncio.to_thread(restart))
    try:
        await assert_all_get_the_saved_text(client, rows, seed=3 + wipe)
    finally:
        running = False
        await restarting
