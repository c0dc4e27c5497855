"""Readers of jobs in tests, and jobs for them to read."""

import asyncio

from redis.asyncio import Redis

from models import Job
from tests.jobs import claimed, ended
from tests.reader import Reader
from tests.streams import Holder
from worker.channel.events import START, Cursor, encode
from worker.channel.follow import Follower
from worker.channel.log import channel_name
from worker.channel.publisher import Publisher
from worker.store import Store

TEXT = "0123456789"


async def follow(follower: Follower, job: str, after: Cursor = START) -> Reader:
    """A reader that has heard the job to its end."""
    reader = Reader(*after)
    async with asyncio.timeout(20):
        async for event in follower.follow(job, after):
            reader.hear(encode(event))
    return reader


async def saved(rows: Store, text: str = TEXT) -> Job:
    """A job that ended with this text and has no log."""
    job = ended(await claimed(rows), text)
    assert await rows.holds.settle(job, None)
    return job


async def running(rows: Store, publisher: Publisher, *texts: str) -> Holder:
    """A job that is being streamed and has said so much."""
    holder = Holder(publisher, (await claimed(rows)).id)
    holder.start()
    for text in texts:
        holder.say(text)
        assert await publisher.drain(5)
    return holder


async def subscribers(redis: Redis, job: str) -> int:
    ((_, count),) = await redis.pubsub_numsub(channel_name(job))
    return int(count)


async def nobody(redis: Redis, job: str) -> bool:
    return await subscribers(redis, job) == 0
