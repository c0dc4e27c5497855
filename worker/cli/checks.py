"""The checks of `doctor`. Each looks at one thing and says what it found."""

import asyncio
import platform
import resource
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from importlib.metadata import version

import httpx
import msgspec
from kombu.utils.url import maybe_sanitize_url
from redis.asyncio import Redis

from models import schema
from worker import __version__, endpoints, settings
from worker.app import app
from worker.catalog import Upstream
from worker.cli.default_model import ask_for_models
from worker.engines.servers import OLDEST_REDIS
from worker.errors import ConfigurationError, FileNotFound, StorageAway
from worker.files import draft, in_thread, new_file_id, storage_of
from worker.store import connect

# A command to Redis that takes longer adds to what each reader waits for each delta.
SLOW_S = 0.01
# From this share of `maxmemory` on, Redis is close to refusing writes.
FULL = 0.8
# How long a server may take to answer, and the workers to a question to all of them.
PATIENCE_S, WORKERS_S = 5, 1.0
# Files a worker needs beside its streams' sockets.
OTHER_FILES = 100


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What a check found, and what to do about it."""

    name: str
    level: Level
    said: str
    remedy: str = ""


async def _versions() -> Sequence[Finding]:
    names = ", ".join(f"{name} {version(name)}" for name in ("celery", "redis", "sqlalchemy"))
    said = f"deltaworks {__version__}, Python {platform.python_version()}, {names}"
    return [Finding("versions", Level.OK, said)]


async def _settings() -> Sequence[Finding]:
    chosen = settings.load()
    kept = [] if chosen.embedded_redis else ["Redis"]
    kept += [] if chosen.embedded_database else ["database"]
    said = (
        f"home {chosen.home.absolute()}; configured: {', '.join(kept) or 'nothing, all embedded'}"
    )
    return [Finding("settings", Level.OK, said)]


async def _files() -> Sequence[Finding]:
    streams = settings.load().streams
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{limit:,} open files for {streams:,} streams"
    if limit != resource.RLIM_INFINITY and limit < streams + OTHER_FILES:
        remedy = "raise the hard limit (ulimit -Hn), or lower DELTAWORKS_STREAMS"
        return [Finding("files", Level.FAIL, said, remedy)]
    return [Finding("files", Level.OK, said)]


async def _redis() -> Sequence[Finding]:
    url = (await asyncio.to_thread(endpoints.resolve)).redis_url
    async with Redis.from_url(url, socket_timeout=PATIENCE_S, protocol=2) as client:
        info = await client.info()
        began = time.perf_counter()
        await client.ping()
        took_s = time.perf_counter() - began
    said = f"{info['redis_version']} at {maybe_sanitize_url(url)}, answers in {took_s * 1e3:.1f} ms"
    level, remedy = _redis_fault(info, took_s)
    return [Finding("redis", level, said, remedy)]


def _redis_fault(info: Mapping[str, object], took_s: float) -> tuple[Level, str]:
    numbers = str(info["redis_version"]).split(".")
    if tuple(int(number) for number in numbers[:2]) < OLDEST_REDIS:
        return Level.FAIL, "Redis 6.2 or newer is needed"
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Level.WARN, f"maxmemory-policy is {policy}: it may drop queued work; set noeviction"
    used, most = (int(str(info.get(name, 0))) for name in ("used_memory", "maxmemory"))
    if most and used > FULL * most:
        return Level.WARN, f"{used / most:.0%} of maxmemory is used; a full Redis refuses all work"
    if took_s > SLOW_S:
        return Level.WARN, "each delta waits for it; move it closer to the workers"
    return Level.OK, ""


async def _broker() -> Sequence[Finding]:
    def connect_once() -> None:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=PATIENCE_S)

    await asyncio.to_thread(connect_once)
    url = maybe_sanitize_url(endpoints.resolve().broker_url)
    return [Finding("broker", Level.OK, str(url))]


async def _database() -> Sequence[Finding]:
    found = endpoints.resolve().database_url
    engine = connect(found)
    try:
        async with engine.connect() as connection:
            revision = await connection.run_sync(schema.revision)
    finally:
        await engine.dispose()
    said = f"{maybe_sanitize_url(found)}, revision {revision or 'none'}"
    if not schema.outdated(revision):
        return [Finding("database", Level.OK, said)]
    if settings.load().embedded_database:
        return [Finding("database", Level.OK, f"{said} (upgraded at first use)")]
    return [Finding("database", Level.FAIL, said, "run: deltaworks db upgrade")]


async def _upstreams() -> Sequence[Finding]:
    catalog = await asyncio.to_thread(endpoints.upstreams)
    return [await _upstream(upstream) for upstream in catalog.upstreams]


async def _upstream(upstream: Upstream) -> Finding:
    at = f"{upstream.name} at {upstream.base_url}"
    try:
        answer = await ask_for_models(upstream, settings.load().connect_timeout_s)
    except ConfigurationError as error:
        return Finding("upstream", Level.FAIL, at, str(error))
    except httpx.HTTPError as error:
        said = f"{at}: no answer ({type(error).__name__})"
        return Finding("upstream", Level.FAIL, said, "check base_url, and the way to it")
    if answer.status_code in (401, 403):
        said = f"{at}: refuses the key (HTTP {answer.status_code})"
        remedy = f"put a valid key into {upstream.api_key_env or 'a variable, and name it'}"
        return Finding("upstream", Level.FAIL, said, remedy)
    if not answer.is_success:
        said = f"{at}: GET /models answers HTTP {answer.status_code}"
        return Finding("upstream", Level.WARN, said, "harmless if it does not list its models")
    return Finding("upstream", Level.OK, at)


async def _storage() -> Sequence[Finding]:
    """Whether a file of a batch can be written, read and removed where they are to lie."""
    chosen, id = settings.load(), new_file_id()
    place = maybe_sanitize_url(chosen.files_url) if chosen.files_url else "a folder in the home"
    storage = storage_of(chosen)
    try:
        async with draft(storage, id) as file:
            await in_thread(file.write, b"deltaworks doctor")
        await in_thread(storage.size, id)
        await in_thread(storage.remove, id)
    except (StorageAway, FileNotFound) as error:
        remedy = "see to it that it is there, and that this user may write to it"
        return [Finding("storage", Level.FAIL, f"{place}: {error}", remedy)]
    return [Finding("storage", Level.OK, f"files of batches: {place}")]


async def _workers() -> Sequence[Finding]:
    if settings.load().embedded_redis:
        return [Finding("workers", Level.OK, "started when a command needs one")]
    answers = await asyncio.to_thread(app.control.ping, timeout=WORKERS_S)
    said = f"{len(answers or [])} answer"
    level, remedy = (Level.OK, "") if answers else (Level.WARN, "start one: deltaworks worker")
    return [Finding("workers", level, said, remedy)]


# In the order of what depends on what.
CHECKS: Mapping[str, Callable[[], Awaitable[Sequence[Finding]]]] = {
    "versions": _versions,
    "settings": _settings,
    "files": _files,
    "redis": _redis,
    "broker": _broker,
    "database": _database,
    "upstream": _upstreams,
    "storage": _storage,
    "workers": _workers,
}
