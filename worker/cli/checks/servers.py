"""Checks of the servers: both Redis, the broker, the database, and what time each has."""

import asyncio
import time
from collections.abc import Mapping, Sequence

from kombu.utils.url import maybe_sanitize_url
from redis.asyncio import Redis
from redis.exceptions import RedisError

from models import schema
from worker import endpoints, settings
from worker.app import app
from worker.cli.checks.finding import Finding, Level
from worker.engines.servers import OLDEST_REDIS
from worker.settings import SHARED_SCHEMES
from worker.store import Condition, condition_of

# A command to Redis that takes longer adds to what each reader waits for each delta.
SLOW_S = 0.01
# From this share of its memory, or of its connections, on a server is close to refusing work.
FULL = 0.8
# How long a server may take to answer.
PATIENCE_S = 5
# How far the clocks may be from another. Deadlines and schedules are judged by several of them.
ODD_S, WRONG_S = 1.0, 10.0

Fault = tuple[Level, str]
WELL: Fault = (Level.OK, "")


async def redis() -> Sequence[Finding]:
    """The channel's Redis."""
    url = (await asyncio.to_thread(endpoints.resolve)).redis_url
    info, took_s, _ = await _asked(url)
    said = f"{info['redis_version']} at {maybe_sanitize_url(url)}, answers in {took_s * 1e3:.1f} ms"
    slow = Level.WARN, "each delta waits for it; move it closer to the workers"
    level, remedy = redis_fault(info) or (slow if took_s > SLOW_S else WELL)
    return [Finding("redis", level, said, remedy)]


def redis_fault(info: Mapping[str, object]) -> Fault | None:
    """What is wrong with a Redis that says this of itself; None where nothing is."""
    numbers = str(info["redis_version"]).split(".")
    if tuple(int(number) for number in numbers[:2]) < OLDEST_REDIS:
        return Level.FAIL, "Redis 6.2 or newer is needed"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Level.WARN, f"maxmemory-policy is {policy}: it may drop queued work; set noeviction"
    used = _number(info, "used_memory")
    for name, most in (
        ("maxmemory", _number(info, "maxmemory")),
        ("the machine's memory", _number(info, "total_system_memory")),
    ):
        if most and used > FULL * most:
            return Level.WARN, f"{used / most:.0%} of {name} is used; a full Redis refuses all work"
    return None


async def broker() -> Sequence[Finding]:
    """The broker, whatever it is; of Redis also whether waiting messages outlive it."""

    def connect_once() -> None:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=PATIENCE_S)

    await asyncio.to_thread(connect_once)
    found, known = endpoints.resolve(), settings.load()
    said = str(maybe_sanitize_url(found.broker_url))
    if known.embedded_redis or not found.broker_url.startswith(SHARED_SCHEMES):
        return [Finding("broker", Level.OK, said)]
    info, _, keeps = await _asked(found.broker_url)
    if found.broker_url == found.redis_url:
        said += ", the same Redis"
    fault = None if found.broker_url == found.redis_url else redis_fault(info)
    level, remedy = fault or persistence_fault(info, keeps=keeps) or WELL
    return [Finding("broker", level, said, remedy)]


def persistence_fault(info: Mapping[str, object], *, keeps: bool) -> Fault | None:
    """What is wrong with how a broker's Redis keeps its data on disk.

    Args:
        info: what it says of itself.
        keeps: whether it keeps any.
    """
    if not keeps:
        return Level.WARN, (
            "it keeps nothing on disk: when it restarts, jobs wait for the sweep to wake them, and "
            "deltaworks.submit messages are lost; set appendonly yes"
        )
    for name in ("aof_last_write_status", "rdb_last_bgsave_status"):
        if info.get(name, "ok") != "ok":
            return Level.FAIL, f"{name} is {info[name]}: look at its disk, and its log"
    return None


async def _asked(url: str) -> tuple[Mapping[str, object], float, bool]:
    """What a Redis says of itself, how long a PING takes, and whether it keeps data on disk."""
    async with Redis.from_url(url, socket_timeout=PATIENCE_S, protocol=2) as client:
        info = await client.info()
        began = time.perf_counter()
        await client.ping()
        took_s = time.perf_counter() - began
        keeps = bool(info.get("aof_enabled"))
        try:
            keeps = keeps or bool((await client.config_get("save")).get("save"))
        except RedisError:  # managed ones do not tell, and do keep
            keeps = True
    return info, took_s, keeps


async def database() -> Sequence[Finding]:
    """The database: its schema, its size, its connections."""
    found = endpoints.resolve().database_url
    condition = await condition_of(found)
    said = f"{maybe_sanitize_url(found)}, revision {condition.revision or 'none'}"
    said += f", {condition.bytes / 1e6:,.1f} MB"
    if condition.most_connections is not None:
        said += f", {condition.connections} of {condition.most_connections} connections"
    level, remedy = database_fault(condition) or WELL
    embedded = settings.load().embedded_database
    if level is Level.FAIL and embedded:
        return [Finding("database", Level.OK, f"{said} (upgraded at first use)")]
    return [Finding("database", level, said, remedy)]


def database_fault(condition: Condition) -> Fault | None:
    """What is wrong with a database in this condition; None where nothing is."""
    if schema.outdated(condition.revision):
        return Level.FAIL, "run: deltaworks db upgrade"
    if schema.newer(condition.revision):
        return Level.WARN, (
            f"newer than this version's {schema.HEAD}: fine while an upgrade is under way; "
            "then upgrade here, too"
        )
    most = condition.most_connections
    if most is not None and condition.connections > FULL * most:
        return Level.WARN, (
            "new workers may be refused: raise max_connections, or put pgbouncer before it; "
            "each process has up to eight"
        )
    return None


async def clocks() -> Sequence[Finding]:
    """How far this machine's clock, the database's and Redis' are from one another."""
    found = endpoints.resolve()
    ahead = {"the database": (await condition_of(found.database_url)).ahead_s}
    async with Redis.from_url(found.redis_url, socket_timeout=PATIENCE_S, protocol=2) as client:
        asked = time.time()
        seconds, microseconds = await client.time()
        ahead["Redis"] = seconds + microseconds / 1e6 - (asked + time.time()) / 2
    return [clock_finding(ahead)]


def clock_finding(ahead: Mapping[str, float]) -> Finding:
    """What to say of clocks that are so many seconds ahead of this machine's."""
    said = ", ".join(f"{name} {seconds:+.2f} s" for name, seconds in ahead.items())
    times = [0.0, *ahead.values()]
    apart = max(times) - min(times)
    if apart <= ODD_S:
        return Finding("clocks", Level.OK, said)
    level = Level.WARN if apart <= WRONG_S else Level.FAIL
    remedy = "deadlines, schedules and limits are judged by different ones: run NTP on each"
    return Finding("clocks", level, said, remedy)


def _number(info: Mapping[str, object], name: str) -> int:
    return int(str(info.get(name, 0)))
