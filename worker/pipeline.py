"""One Redis connection that many callers share: commands go out as they come, answers in order.

redis-py's way to a command costs more than the command: it takes a connection out of a pool, packs
in Python, starts a timer for each write and each read, and wakes the caller by way of a stream.
What a worker says to Redis for every delta and every job passes here instead. redis-py still opens
the connection, with all that it knows of URLs, TLS and authentication.

A caller that is cancelled does no harm: its answer is dropped when it comes.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import BusyLoadingError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

# How long an answer may take. Whoever waits for Redis has something better to do.
TIMEOUT_S = 5.0

Word = str | bytes | int | float


class Pipeline:
    """Sends commands over one connection of the client's pool, which it never gives back."""

    def __init__(self, redis: Redis, timeout_s: float = TIMEOUT_S) -> None:
        self._pool = redis.connection_pool
        self._timeout_s = timeout_s
        self._connection: AbstractConnection | None = None
        self._channel: _Channel | None = None
        self._opening: asyncio.Task[_Channel] | None = None

    async def command(self, *words: Word, at_once: bool = False) -> object:
        """The answer to one command.

        Args:
            words: its own.
            at_once: whether it is sent without waiting for what else is said in this turn of the
                loop: for whoever says much in one command.

        Raises:
            RedisError: Redis refused it, did not answer in time, or is away; in the last two
                cases nothing is known of what it did.
            OSError: it could not be reached.
        """
        channel = self._channel
        if channel is None or channel.closed:
            channel = await self._opened()
        return await channel.send(words, at_once)

    async def _opened(self) -> "_Channel":
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._forget_opening)
        return await asyncio.shield(self._opening)

    def _forget_opening(self, opening: "asyncio.Task[_Channel]") -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # told to those who wait for it; perhaps nobody does any more

    async def _open(self) -> "_Channel":
        try:
            async with asyncio.timeout(self._timeout_s):
                if self._connection is None:
                    self._connection = await self._pool.get_connection()
                else:
                    await self._connection.disconnect(nowait=True)
                    await self._connection.connect()
        except TimeoutError:
            raise RedisTimeoutError("Redis could not be connected to in time") from None
        self._channel = _Channel(self._connection, self._timeout_s)
        return self._channel


class _Channel(asyncio.Protocol):
    """An open connection, from the moment at which redis-py has made it ready."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        writer = connection._writer  # redis-py has no public name for it
        assert writer is not None
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._transport = writer.transport
        self._opener = self._transport.get_protocol()
        self._transport.set_protocol(self)
        self._reader = hiredis.Reader(replyError=_error)
        self._waiting: deque[tuple[asyncio.Future[object], float]] = deque()
        self._unsent: list[bytes] = []
        self._watch: asyncio.TimerHandle | None = None
        self.closed = self._transport.is_closing()

    def send(self, words: Sequence[Word], at_once: bool) -> asyncio.Future[object]:
        """Send a command with what else is said in this turn of the loop: each write is a call
        of the system. But to wait for the turn's end costs a turn.
        """
        answer = self._loop.create_future()
        if self.closed:
            answer.set_exception(RedisConnectionError("the connection to Redis was lost"))
            return answer
        self._waiting.append((answer, self._loop.time()))
        packed = hiredis.pack_command(tuple(words))  # type: ignore[arg-type]  # its stub
        if at_once and not self._unsent:
            self._transport.write(packed)
        else:
            if not self._unsent:
                self._loop.call_soon(self._flush)
            self._unsent.append(packed)
        if self._watch is None:
            self._watch = self._loop.call_later(self._timeout_s, self._look)
        return answer

    def data_received(self, data: bytes) -> None:
        """Hand out the answers that `data` completes."""
        self._reader.feed(data)
        while self._waiting and (answer := self._reader.gets()) is not False:
            waiting, _ = self._waiting.popleft()
            if waiting.done():
                continue
            if isinstance(answer, RedisError):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell all who wait, and redis-py's own protocol, whose writer waits for it to close."""
        self._fail(RedisConnectionError("the connection to Redis was lost"))
        self._opener.connection_lost(exc)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def _look(self) -> None:
        """Close where the oldest question has waited too long: the others come after it."""
        self._watch = None
        if not self._waiting:
            return
        _, asked = self._waiting[0]
        left_s = asked + self._timeout_s - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
            return
        self._fail(RedisTimeoutError("Redis did not answer"))
        self._transport.abort()

    def _fail(self, error: RedisError) -> None:
        """Tell all who wait; no answer can be told from another any more."""
        self.closed = True
        if self._watch is not None:
            self._watch.cancel()
        for waiting, _ in self._waiting:
            if not waiting.done():
                waiting.set_exception(error)
        self._waiting.clear()


class Script:
    """A Lua script that returns a list of integers or nothing, loaded where it is missing."""

    def __init__(self, pipeline: Pipeline, source: bytes) -> None:
        self._pipeline = pipeline
        self._source = source
        # Redis names scripts by it; nothing is kept secret with it.
        self._sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()

    async def run(
        self, keys: Sequence[str], arguments: Sequence[Word], *, at_once: bool = False
    ) -> list[int]:
        """What the script returns, an empty list for nothing. See `Pipeline.command`."""
        words = (len(keys), *keys, *arguments)
        try:
            answer = await self._pipeline.command("EVALSHA", self._sha, *words, at_once=at_once)
        except ResponseError as error:
            if error.status_code != "NOSCRIPT":
                raise
            answer = await self._pipeline.command("EVAL", self._source, *words)
        return answer if isinstance(answer, list) else []


def _error(text: str) -> RedisError:
    """An answer that is an error, with its code, such as OOM."""
    code = text.partition(" ")[0]
    if code == "LOADING":  # of the server, not of the command: it will come back
        return BusyLoadingError(text)
    return ResponseError(text, status_code=code)
