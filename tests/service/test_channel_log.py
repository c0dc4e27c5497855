"""The one script that writes logs: what it says in every case, what it keeps, what it publishes."""

import asyncio
import json
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.asyncio.client import PubSub

from worker.channel.log import Log, Mode, Result, Write

JOB = "job_0123456789abcdef"
KEY, CHANNEL = f"deltaworks:{{{JOB}}}:log", f"deltaworks:{{{JOB}}}"
LIFE_MS = 100_000

# The log's entries before the write; an id with "!" is a closing event's.
LOGS = {
    "none": (),
    "lower attempt": ("1-0", "1-5"),
    "predecessor": ("2-0", "2-3"),
    "shorter": ("2-0", "2-2"),
    "between": ("2-0", "2-4"),
    "equal": ("2-0", "2-5"),
    "longer": ("2-0", "2-9"),
    "higher attempt": ("2-0", "3-0"),
    "closed, lower attempt": ("1-0", "1-6!"),
    "closed, shorter": ("2-0", "2-4!"),
    "closed, equal": ("2-0", "2-5!"),
    "closed, longer": ("2-0", "2-6!"),
    "closed, higher attempt": ("3-1!",),
}
A, B, F, L = Result.APPLIED, Result.BEFORE, Result.FENCED, Result.LOST
# What a write whose last entry is 2-5 meets with, in the order of `LOGS`.
VERDICTS = {
    Mode.APPEND: (L, L, A, L, L, B, B, F, F, F, B, B, F),
    Mode.FIRST: (A, A, L, L, L, B, B, F, F, F, B, B, F),
    Mode.REBUILD: (A, A, A, A, A, A, A, F, F, F, F, F, F),
    Mode.END: (A, A, A, A, A, B, B, F, F, F, B, B, F),
}
WRITES = {
    Mode.APPEND: ("2-5",),
    Mode.FIRST: ("2-0", "2-3", "2-5"),
    Mode.REBUILD: ("2-0", "2-3", "2-5"),
    Mode.END: ("2-5!",),
}
TABLE = [
    (mode, state, verdict)
    for mode, verdicts in VERDICTS.items()
    for state, verdict in zip(LOGS, verdicts, strict=True)
]


def entry(id: str, mark: str = "") -> tuple[str, bytes]:
    kind = "completed" if id.endswith("!") else "delta"
    plain = id.rstrip("!")
    event = {"type": kind, "id": plain, "job": JOB, "mark": mark}
    return plain, json.dumps(event, separators=(",", ":")).encode()


def write(mode: Mode, *ids: str, job: str = JOB, life_ms: int = 0, mark: str = "new") -> Write:
    entries = tuple(entry(id, mark) for id in ids)
    predecessor = "2-3" if mode is Mode.APPEND else ""
    return Write(job=job, mode=mode, entries=entries, predecessor=predecessor, life_ms=life_ms)


async def prepare(redis: Redis, ids: tuple[str, ...]) -> list[tuple[str, bytes]]:
    for id in ids:
        plain, payload = entry(id, "old")
        await redis.xadd(KEY, {"e": payload}, id=plain)
    if ids:
        await redis.pexpire(KEY, LIFE_MS)
    return [entry(id, "old") for id in ids]


async def kept(redis: Redis) -> list[tuple[str, bytes]]:
    found: Any = await redis.xrange(KEY)
    assert all(list(fields) == [b"e"] for _, fields in found)
    return [(id.decode(), fields[b"e"]) for id, fields in found]


async def subscribed(redis: Redis, channel: str = CHANNEL) -> PubSub:
    pubsub = redis.pubsub()
    await pubsub.subscribe(channel)
    confirmation: Any = await pubsub.get_message(timeout=5)
    assert confirmation["type"] == "subscribe"
    return pubsub


async def heard(redis: Redis, pubsub: PubSub, channel: str = CHANNEL) -> list[bytes]:
    """All that was published before now."""
    await redis.publish(channel, b"fence")
    messages: list[bytes] = []
    while True:
        message: Any = await pubsub.get_message(timeout=5)
        if message["data"] == b"fence":
            return messages
        messages.append(message["data"])


@pytest.mark.parametrize(("mode", "state", "verdict"), TABLE)
async def test_the_script_judges_a_write_by_the_logs_newest_entry(
    redis: Redis, log: Log, mode: Mode, state: str, verdict: Result
) -> None:
    before = await prepare(redis, LOGS[state])
    pubsub = await subscribed(redis)
    given = write(mode, *WRITES[mode], life_ms=0 if mode is Mode.APPEND else 7_000)
    assert await log.write([given]) == [verdict]
    messages, remaining = await heard(redis, pubsub), await redis.pttl(KEY)
    if verdict is Result.APPLIED:
        new = list(given.entries)
        published = new[-1:] if mode is Mode.REBUILD else new
        assert await kept(redis) == (new if mode is Mode.REBUILD else before + new)
        assert messages == [payload for _, payload in published]
        limit = LIFE_MS if mode is Mode.APPEND else 7_000
        assert limit - 5_000 < remaining <= limit
    else:
        assert await kept(redis) == before
        assert messages == []
        assert (remaining == -2) if not before else remaining > LIFE_MS - 5_000
    await pubsub.aclose()


@pytest.mark.parametrize("mode", [Mode.APPEND, Mode.FIRST, Mode.END])
async def test_a_write_sent_twice_is_applied_once(redis: Redis, log: Log, mode: Mode) -> None:
    await prepare(redis, LOGS["predecessor"] if mode is Mode.APPEND else ())
    given = write(mode, *WRITES[mode], life_ms=0 if mode is Mode.APPEND else 7_000)
    assert await log.write([given]) == [Result.APPLIED]
    once = await kept(redis)
    assert await log.write([given]) == [Result.BEFORE]
    assert await kept(redis) == once


async def test_every_job_of_a_call_is_judged_by_itself(redis: Redis, log: Log) -> None:
    await prepare(redis, LOGS["higher attempt"])
    writes = [
        write(Mode.FIRST, "2-0", "2-5", job=f"other_{number:016d}", life_ms=7_000)
        for number in range(3)
    ]
    writes.insert(1, write(Mode.FIRST, "2-0", "2-5", life_ms=7_000))
    assert await log.write(writes) == [A, F, A, A]


async def test_numbers_are_compared_as_numbers(redis: Redis, log: Log) -> None:
    await prepare(redis, ("2-0", "2-10"))
    given = Write(job=JOB, mode=Mode.APPEND, entries=(entry("2-9"),), predecessor="2-8")
    assert await log.write([given]) == [Result.BEFORE]
    assert await log.write([write(Mode.FIRST, "10-0", life_ms=7_000)]) == [Result.APPLIED]


async def test_only_the_type_of_the_newest_entry_closes_a_log(redis: Redis, log: Log) -> None:
    tricky = b'{"type":"delta","id":"1-5","job":"j","text":"{\\"type\\":\\"completed\\"}"}'
    await redis.xadd(KEY, {"e": tricky}, id="1-5")
    await redis.pexpire(KEY, LIFE_MS)
    assert await log.write([write(Mode.FIRST, "2-0", life_ms=7_000)]) == [Result.APPLIED]


async def test_a_log_that_lacks_its_newest_entries_is_lost(redis: Redis, log: Log) -> None:
    await prepare(redis, ("2-0", "2-3"))
    await redis.xdel(KEY, "2-3")
    assert await log.write([write(Mode.APPEND, "2-5")]) == [Result.LOST]


async def test_the_script_is_loaded_again_where_redis_has_forgotten_it(
    redis: Redis, log: Log
) -> None:
    await log.write([write(Mode.FIRST, "2-0", life_ms=7_000)])
    await redis.script_flush()
    assert await log.write([write(Mode.FIRST, "2-0", life_ms=7_000)]) == [Result.BEFORE]


async def test_open_jobs_are_listed_until_their_end_is_announced(redis: Redis, log: Log) -> None:
    opening = Write(job=JOB, mode=Mode.FIRST, entries=(entry("1-0"),), life_ms=7_000, opens=True)
    await log.write([opening])
    assert await redis.zrange("deltaworks:open", 0, -1) == [JOB.encode()]
    assert await log.unannounced(-1, 10) == [JOB]
    assert await log.unannounced(60, 10) == []
    closing = Write(job=JOB, mode=Mode.END, entries=(entry("1-1!"),), life_ms=7_000, closes=True)
    await log.write([closing])
    assert await redis.zcard("deltaworks:open") == 0


async def test_writers_at_once_never_mix_two_attempts(redis: Redis, log: Log) -> None:
    writes = [
        write(Mode.FIRST, f"{attempt}-0", f"{attempt}-5", life_ms=7_000) for attempt in range(1, 40)
    ]
    results = await asyncio.gather(*(log.write([each]) for each in writes))
    assert {result for (result,) in results} <= {Result.APPLIED, Result.FENCED}
    ids = [tuple(map(int, id.split("-"))) for id, _ in await kept(redis)]
    assert ids == sorted(ids)
    assert [attempt for attempt, _ in ids[::2]] == [attempt for attempt, _ in ids[1::2]]
