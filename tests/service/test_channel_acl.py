"""A reader whom Redis lets do nothing but read: the line of the security page, in a real Redis."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from tests.jobs import claimed
from tests.servers import RedisServer
from tests.streams import Holder, following
from worker.channel.events import Delta, End
from worker.channel.publisher import Publisher
from worker.store import Store

PAGE = Path(__file__).parents[2] / "ops" / "security.md"


@pytest.fixture
async def reader(redis: Redis, redis_server: RedisServer) -> AsyncIterator[Redis]:
    """A client that logs in as the security page's reader."""
    (line,) = re.findall(r"^ACL SETUSER .*$", PAGE.read_text("utf-8"), re.MULTILINE)
    await redis.execute_command(*line.split())
    _, _, user, *_ = line.split()
    (password,) = re.findall(r" >(\S+)", line)
    url = redis_server.url.replace("//", f"//{user}:{password}@")
    async with Redis.from_url(url, protocol=2) as client:
        yield client
    await redis.acl_deluser(user)


async def test_a_reader_follows_a_job_live_and_from_its_log(
    reader: Redis, rows: Store, publisher: Publisher
) -> None:
    job = await claimed(rows)
    holder = Holder(publisher, job.id)
    async with following(reader, rows, 30.0) as follower:
        events = follower.follow(job.id)
        holder.start()
        holder.say("Hello, ")
        text = ""
        async for event in events:
            if isinstance(event, Delta):
                text += event.text or ""
                if text == "Hello, ":
                    holder.say("world")
                    await holder.settle(rows)
        assert isinstance(event, End) and text == "Hello, world"
        again = [event async for event in follower.follow(job.id)]
    assert "".join(one.text or "" for one in again if isinstance(one, Delta)) == text


REFUSED = (
    "XADD deltaworks:{job}:log * e x",
    "DEL deltaworks:{job}:log",
    "EXPIRE deltaworks:{job}:log 1",
    "PUBLISH deltaworks:{job} x",
    "PUBLISH deltaworks:stop job",
    "SUBSCRIBE deltaworks:stop",
    "PSUBSCRIBE *",
    "ZRANGE deltaworks:open 0 -1",
    "XRANGE deltaworks:{job}:other - +",
    "LRANGE interactive 0 -1",
    "LPUSH deltaworks.submit x",
    "EVAL return(1) 0",
    "KEYS *",
    "SCAN 0",
    "CONFIG GET maxmemory",
    "ACL LIST",
    "MONITOR",
    "FLUSHALL",
    "CLIENT KILL TYPE normal",
)


@pytest.mark.parametrize("command", REFUSED)
async def test_a_reader_can_do_nothing_else(reader: Redis, command: str) -> None:
    with pytest.raises(NoPermissionError):
        await reader.execute_command(*command.split())
