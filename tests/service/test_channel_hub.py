"""The hub: one connection, each subscription confirmed, whatever happens to Redis. Inquiries."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from models import Job
from tests.proxy import Proxy
from tests.servers import RedisServer
from tests.streams import fast_failing
from tests.wire import until
from worker.channel.hub import MOST_WAITING, Hub, Subscription
from worker.channel.inquiry import Inquiry
from worker.errors import JobNotFound


@asynccontextmanager
async def running(redis: Redis) -> AsyncIterator[Hub]:
    hub = Hub(redis)
    task = asyncio.create_task(hub.run())
    yield hub
    assert not task.done(), task
    task.cancel()
    await asyncio.wait([task])


async def test_the_first_message_says_that_the_subscription_is_confirmed(redis: Redis) -> None:
    async with running(redis) as hub, hub.subscribe("a") as first:
        assert await first.get(5) == Subscription.RENEWED
        assert await redis.publish("a", b"message") == 1
        assert await first.get(5) == b"message"
        async with hub.subscribe("a") as second:
            # The channel is subscribed already.
            assert await second.get(5) == Subscription.RENEWED
            await redis.publish("a", b"for both")
            assert await first.get(5) == await second.get(5) == b"for both"


async def test_each_channel_has_its_own_messages(redis: Redis) -> None:
    async with running(redis) as hub, hub.subscribe("a") as a, hub.subscribe("b") as b:
        assert await a.get(5) == await b.get(5) == Subscription.RENEWED
        await redis.publish("b", b"for b")
        assert await b.get(5) == b"for b"
        with pytest.raises(TimeoutError):
            await a.get(0.01)


async def test_a_subscription_before_the_connection_is_made_with_it(redis: Redis) -> None:
    hub = Hub(redis)
    async with hub.subscribe("a") as subscription:
        with pytest.raises(TimeoutError):
            await subscription.get(0.01)
        task = asyncio.create_task(hub.run())
        assert await subscription.get(5) == Subscription.RENEWED
        task.cancel()
        await asyncio.wait([task])


async def test_leaving_and_coming_back_at_once_is_subscribed(redis: Redis) -> None:
    async with running(redis) as hub:
        for _ in range(50):
            async with hub.subscribe("a"):
                pass
        async with hub.subscribe("a") as subscription:
            assert await subscription.get(5) == Subscription.RENEWED
            await until(lambda: is_subscribed(redis))
            await redis.publish("a", b"message")
            while await subscription.get(5) != b"message":
                pass
        await until(lambda: is_free(redis))


async def is_subscribed(redis: Redis) -> bool:
    return await redis.pubsub_channels() == [b"a"]


async def is_free(redis: Redis) -> bool:
    return await redis.pubsub_channels() == []


@pytest.mark.parametrize("how", ["kill connection", "restart", "stop"])
async def test_a_connection_that_ended_is_renewed_and_says_so(
    private_redis: RedisServer, how: str
) -> None:
    async with fast_failing(private_redis.url) as client, running(client) as hub:
        subscriptions = {}
        async with hub.subscribe("a") as a, hub.subscribe("b") as b:
            subscriptions = {"a": a, "b": b}
            for each in subscriptions.values():
                assert await each.get(5) == Subscription.RENEWED
            if how == "kill connection":
                assert await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
            elif how == "restart":
                private_redis.restart()
            else:
                private_redis.stop()
                with pytest.raises(TimeoutError):
                    await a.get(1.5)
                private_redis.start()
            for name, each in subscriptions.items():
                assert await each.get(10) == Subscription.RENEWED
                assert await client.publish(name, b"after") == 1
                assert await each.get(5) == b"after"


async def test_subscribers_that_give_up_leave_the_connection_to_the_others(
    redis: Redis, redis_url: str
) -> None:
    async with (
        Proxy(redis_url) as proxy,
        fast_failing(proxy.url) as client,
        running(client) as hub,
        hub.subscribe("steady") as steady,
    ):
        assert await steady.get(5) == Subscription.RENEWED

        async def hasty(number: int) -> None:
            async with hub.subscribe(f"hasty {number}") as subscription:
                await subscription.get(None)

        for steps in range(30):
            task = asyncio.create_task(hasty(steps))
            for _ in range(steps % 10):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        await redis.publish("steady", b"message")
        # Had the connection been renewed, this one would have been told.
        assert await steady.get(5) == b"message"


async def test_too_many_waiting_messages_become_one_that_says_so() -> None:
    subscription = Subscription()
    for number in range(MOST_WAITING):
        subscription.put(b"%d" % number)
    assert await subscription.get(1) == b"0"
    subscription.put(b"fits")
    subscription.put(b"one too many")
    subscription.put(b"later")
    assert await subscription.get(1) == Subscription.RENEWED
    assert await subscription.get(1) == b"later"


class Rows:
    """Looks up what a test says there is; counts the statements."""

    def __init__(self, *ids: str) -> None:
        self.jobs = {id: Job(id=id) for id in ids}
        self.asked: list[list[str]] = []
        self.fails = False

    async def many(self, ids: Iterable[str]) -> dict[str, Job]:
        self.asked.append(sorted(ids))
        if self.fails:
            raise ConnectionRefusedError
        return {id: self.jobs[id] for id in self.asked[-1] if id in self.jobs}


async def test_questions_at_once_are_one_statement() -> None:
    rows = Rows(*(f"job-{number:03d}" for number in range(100)))
    inquiry = Inquiry(rows.many)
    ids = [*rows.jobs, *rows.jobs]
    found = await asyncio.gather(*(inquiry.job(id) for id in ids))
    assert [job.id for job in found] == ids
    assert rows.asked == [sorted(rows.jobs)]


async def test_who_asks_for_nobody_is_told_so_and_the_others_are_answered() -> None:
    inquiry = Inquiry(Rows("known").many)
    known, unknown = await asyncio.gather(
        inquiry.job("known"), inquiry.job("unknown"), return_exceptions=True
    )
    assert isinstance(known, Job)
    assert isinstance(unknown, JobNotFound)


async def test_a_question_that_fails_fails_for_all_who_asked_and_is_asked_anew() -> None:
    rows = Rows("known")
    inquiry = Inquiry(rows.many)
    rows.fails = True
    both = await asyncio.gather(inquiry.job("known"), inquiry.job("known"), return_exceptions=True)
    assert [type(error) for error in both] == [ConnectionRefusedError] * 2
    rows.fails = False
    assert (await inquiry.job("known")).id == "known"


async def test_a_reader_that_leaves_takes_nobodys_answer_with_it() -> None:
    rows = Rows("known")
    inquiry = Inquiry(rows.many)
    leaving, staying = (asyncio.create_task(inquiry.job("known")) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying).id == "known"
    assert len(rows.asked) == 1
