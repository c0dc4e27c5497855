"""`worker.connect` for Python programs says of a job what HTTP and the command line say of it."""

from types import SimpleNamespace
from typing import cast

from redis.asyncio import Redis

from tests.following import running
from tests.servers import RedisServer
from tests.streams import fast_failing
from worker.api import Deltaworks
from worker.catalog import Catalog, Price, Upstream
from worker.channel.log import Log
from worker.channel.publisher import Publisher
from worker.runtime import Client
from worker.settings import Settings
from worker.store import Store

PRICED = Upstream(
    name="simulator", base_url="http://sim/v1", prices={"sim": Price(input=0, output=1e6)}
)


def deltaworks(rows: Store, redis: Redis) -> Deltaworks:
    """The way in of a program, by what it looks at."""
    catalog = Catalog((PRICED,))
    known = SimpleNamespace(store=rows, log=Log(redis), settings=Settings(), catalog=catalog)
    return Deltaworks(cast("Client", known))


async def test_a_job_that_runs_has_its_text_so_far_and_the_cursor_after_it(
    rows: Store, redis: Redis, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "0123", "45")
    found = await deltaworks(rows, redis).get(holder.job)
    assert (found["state"], found["output_text"]) == ("in_progress", "012345")
    assert found["cursor"] == "1-6"


async def test_while_redis_is_away_a_job_is_told_as_its_row_has_it(
    private_redis: RedisServer, rows: Store, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "0123")
    async with fast_failing(private_redis.url) as client:
        private_redis.stop()
        found = await deltaworks(rows, client).get(holder.job)
    assert (found["id"], found["state"]) == (holder.job, "in_progress")


async def test_a_job_that_is_cancelled_costs_what_it_had_said(
    rows: Store, redis: Redis, publisher: Publisher
) -> None:
    holder = await running(rows, publisher, "eight ch")
    api = deltaworks(rows, redis)
    assert (await api.cancel(holder.job))["state"] == "cancelled"
    assert (await api.get(holder.job))["cost"] == 2.0
