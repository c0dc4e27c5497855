"""Commands of many callers over one Redis connection: every answer to whom it belongs."""

import asyncio

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from tests.proxy import Proxy
from tests.streams import fast_failing
from tests.wire import until
from worker.pipeline import Pipeline, Script


async def connections(redis: Redis) -> int:
    return len(await redis.client_list())


async def test_every_caller_gets_its_own_answer_over_one_connection(redis: Redis) -> None:
    before = await connections(redis)
    line = Pipeline(redis)
    answers = await asyncio.gather(*(line.command("ECHO", f"{n}") for n in range(500)))
    assert answers == [b"%d" % n for n in range(500)]
    assert await connections(redis) <= before + 1


async def test_an_error_is_told_to_its_caller_alone(redis: Redis) -> None:
    line = Pipeline(redis)
    answers = await asyncio.gather(
        line.command("ECHO", "a"), line.command("NOPE"), line.command("ECHO", "b"),
        return_exceptions=True,
    )  # fmt: skip
    assert [answers[0], answers[2]] == [b"a", b"b"]
    assert isinstance(answers[1], ResponseError)
    assert answers[1].status_code == "ERR"


async def test_the_answer_to_a_cancelled_caller_goes_to_nobody_else(redis: Redis) -> None:
    line = Pipeline(redis)
    await line.command("PING")
    for turns in range(4):
        asked = [asyncio.create_task(line.command("ECHO", f"{n}")) for n in range(20)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in asked[::2]:
            task.cancel()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert answers[1::2] == [b"%d" % n for n in range(1, 20, 2)]


async def test_a_lost_connection_is_told_and_the_next_command_opens_another(redis: Redis) -> None:
    line = Pipeline(redis)
    mine = await line.command("CLIENT", "ID")
    blocked = asyncio.create_task(line.command("BLPOP", "nothing", 0))

    async def blocks() -> bool:
        clients = await redis.client_list()
        return any(each["id"] == str(mine) and each["cmd"] == "blpop" for each in clients)

    await until(blocks)
    await redis.client_kill_filter(_id=str(mine))
    with pytest.raises(RedisConnectionError):
        await blocked
    assert await line.command("PING") == b"PONG"


async def test_a_redis_that_does_not_answer_is_given_up(redis: Redis) -> None:
    line = Pipeline(redis, timeout_s=0.1)
    await line.command("PING")
    asked = [line.command("BLPOP", "nothing", 0), line.command("PING")]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RedisTimeoutError, RedisTimeoutError]
    assert await line.command("PING") == b"PONG"


async def test_callers_are_told_while_redis_cannot_be_reached(redis_url: str) -> None:
    async with Proxy(redis_url) as proxy, fast_failing(proxy.url) as client:
        line = Pipeline(client)
        assert await line.command("PING") == b"PONG"
        await proxy.down()
        asked = [line.command("PING") for _ in range(5)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(answer, RedisError | OSError) for answer in answers)
        await proxy.up()
        assert await line.command("PING") == b"PONG"


async def test_a_script_is_loaded_where_redis_has_lost_it(redis: Redis) -> None:
    script = Script(Pipeline(redis), b"return {#KEYS, tonumber(ARGV[1])}")
    for _ in range(3):
        await redis.script_flush()
        assert await script.run(["a", "b"], ["7"]) == [2, 7]
