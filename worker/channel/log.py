"""A job's log in Redis: its keys, the one script that writes it, and reading it."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from enum import IntEnum, StrEnum
from importlib.resources import files

from msgspec import Struct
from redis.asyncio import Redis

from worker.channel.events import ChannelEvent, Cursor, decode
from worker.pipeline import Pipeline, Script, Word

_SCRIPT = files("worker.channel").joinpath("append.lua").read_bytes()

# Jobs started and not announced as ended, by time: a hint for the sweep.
OPEN = "deltaworks:open"
# There for a day after each sweep: for whoever wonders whether it still comes.
SWEPT, SWEPT_MS = "deltaworks:swept", 86_400_000
# One message for each job that was cancelled: its holder stops the stream.
STOP = "deltaworks:stop"


def log_key(job: str) -> str:
    """The stream that holds the job's events."""
    return f"deltaworks:{{{job}}}:log"


def channel_name(job: str) -> str:
    """The pub/sub channel that carries the job's events live."""
    return f"deltaworks:{{{job}}}"


class Mode(StrEnum):
    """How a write joins the log; see `append.lua`."""

    APPEND = "append"
    FIRST = "first"
    REBUILD = "rebuild"
    END = "end"


class Result(IntEnum):
    """What the script says of one job's write."""

    APPLIED = 1
    BEFORE = 2
    FENCED = 3
    LOST = 4


# By code: a look-up costs a fifth of the enumeration's own call.
_RESULTS = {result.value: result for result in Result}
APPLIED = Result.APPLIED


# The id of an event, and its JSON.
Entry = tuple[str, bytes]


class Write(Struct, frozen=True):
    """The events that one job contributes to a flush; immutable, so it can be sent again as is.

    `life_ms` 0 leaves the log's remaining life as it is.
    """

    job: str
    mode: Mode
    entries: tuple[Entry, ...]
    predecessor: str = ""
    life_ms: int = 0
    opens: bool = False
    closes: bool = False

    @property
    def last(self) -> str:
        """The id of the last entry."""
        return self.entries[-1][0]

    @property
    def size(self) -> int:
        """Bytes of JSON."""
        size = 0
        for _, payload in self.entries:  # a sum over a generator costs three times as much
            size += len(payload)
        return size


class Log:
    """Reads and writes the logs of all jobs over one Redis client."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._pipeline = Pipeline(redis)
        self._script = Script(self._pipeline, _SCRIPT)

    async def write(self, writes: Sequence[Write]) -> list[Result]:
        """Apply the writes, all of one cluster slot group, in one call.

        Raises:
            RedisError: nothing is known of any write; sending them again unchanged is safe.
        """
        keys: list[str] = []
        arguments: list[Word] = []
        opened: list[Word] = []
        closed: list[str] = []
        for write in writes:
            job, entries = write.job, write.entries
            keys.append(log_key(job))
            arguments += (write.mode, write.predecessor, write.life_ms, len(entries))
            for entry in entries:
                arguments += entry
            if write.opens:
                opened += (time.time(), job)
            elif write.closes:
                closed.append(job)
        run = self._script.run(keys, arguments, at_once=True)
        if opened:
            codes, _ = await asyncio.gather(run, self._pipeline.command("ZADD", OPEN, *opened))
        else:
            codes = await run
        if closed:
            await self.announced(closed)
        if codes.count(APPLIED) == len(codes):  # almost always, and a look-up each costs more
            return [APPLIED] * len(codes)
        return [_RESULTS[code] for code in codes]

    async def announced(self, jobs: Iterable[str]) -> None:
        """Take jobs off the list of those whose end has yet to be announced."""
        if ended := list(jobs):
            await self._pipeline.command("ZREM", OPEN, *ended)

    async def unannounced(self, older_than_s: float, limit: int) -> list[str]:
        """Jobs that started at least so long ago and whose end nobody has announced."""
        until = time.time() - older_than_s
        found = await self._redis.zrangebyscore(OPEN, "-inf", until, start=0, num=limit)
        return [_text(job) for job in found]

    async def swept(self) -> None:
        """A sweep has come by."""
        await self._redis.set(SWEPT, "", px=SWEPT_MS)

    async def swept_s_ago(self) -> float | None:
        """How many seconds ago a sweep came by, by Redis' clock; None where none has for a day."""
        left_ms = await self._redis.pttl(SWEPT)
        return None if left_ms < 0 else (SWEPT_MS - left_ms) / 1e3

    async def read(self, job: str, after: Cursor) -> list[ChannelEvent] | None:
        """The log's events beyond the cursor, or None where there is no log.

        The first may begin before the cursor's offset and end after it.
        """
        key = log_key(job)
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(key)
        pipe.xrange(key, min=f"({after}")
        exists, entries = await pipe.execute()
        return [decode(fields[b"e"]) for _, fields in entries] if exists else None

    async def newest(self, job: str) -> Cursor | None:
        """The id of the log's last entry; None where there is no log."""
        entries = await self._redis.xrevrange(log_key(job), count=1)
        return Cursor.parse(_text(entries[0][0])) if entries else None

    async def listeners(self, job: str) -> int:
        """How many connections hear the job's channel, this process's own included."""
        ((_, count),) = await self._redis.pubsub_numsub(channel_name(job))
        return int(count)

    async def erase(self, job: str) -> None:
        """Remove the log of an ended job; its row tells what is left to be told."""
        await self._redis.delete(log_key(job))

    async def stop(self, job: str) -> None:
        """Tell the job's holder, whichever process it is, that it has lost the job."""
        await self._redis.publish(STOP, job)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
