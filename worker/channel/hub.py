"""One pub/sub connection for all subscriptions of a process.

redis-py's own PubSub reconnects silently and loses what was published meanwhile; here each
(re)subscription is confirmed to its subscribers, who then read what they missed.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from worker.metrics import count, names

logger = logging.getLogger(__name__)

# A subscriber that lets more messages than this wait has to read the log instead.
MOST_WAITING = 1_000
# A connection on which nothing came, not even the answer to a ping, is given up after two of
# these.
PING_S = 10.0
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 1.0


class Subscription:
    """What has come on one channel since the last look.

    `RENEWED` stands for a gap: the channel was (re)subscribed, or messages were dropped because
    the subscriber was slow. The subscriber has to read the log.
    """

    RENEWED = b""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()
        self._arrival: asyncio.Future[None] | None = None

    def put(self, message: bytes) -> None:
        """Hand a message over; never blocks."""
        if len(self._waiting) >= MOST_WAITING:
            count(names.READER_GAPS)
            return self.renew()
        self._waiting.append(message)
        return self._wake()

    def renew(self) -> None:
        """Drop what waits and say so: the log has it all."""
        self._waiting.clear()
        self._waiting.append(self.RENEWED)
        self._wake()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def get(self, timeout_s: float | None) -> bytes:
        """The next message, or `RENEWED`.

        Raises:
            TimeoutError: nothing came in time.
        """
        if not self._waiting:
            # A future and a timer: `asyncio.timeout` and `asyncio.Event` look up the running loop
            # and task at each wait, which before Python 3.12 asks the kernel for the process's id.
            self._arrival = self._loop.create_future()
            timer = None
            if timeout_s is not None:
                timer = self._loop.call_later(timeout_s, _expire, self._arrival)
            try:
                await self._arrival
            finally:
                if timer is not None:
                    timer.cancel()
        return self._waiting.popleft()


def _expire(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_exception(TimeoutError())


class _Channel:
    """The subscriptions of one channel, and whether Redis has confirmed it on this connection."""

    __slots__ = ("confirmed", "subscriptions")

    def __init__(self) -> None:
        self.subscriptions: set[Subscription] = set()
        self.confirmed = False


class Hub:
    """Subscribes channels on one connection and hands their messages out."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._channels: dict[bytes, _Channel] = {}
        # What is to be sent on the connection; None while there is none.
        self._outgoing: asyncio.Queue[tuple[str | bytes, ...]] | None = None
        self._heard = False

    async def run(self) -> None:
        """Keep the connection until cancelled, whatever happens to Redis."""
        pause = FIRST_PAUSE_S
        while True:
            connection = self._redis.connection_pool.make_connection()
            try:
                await self._serve(connection)
            except* (RedisError, OSError) as errors:
                if self._outgoing is not None:
                    pause = FIRST_PAUSE_S
                kind = type(errors.exceptions[0]).__name__
                logger.warning("the channel's connection is renewed: %s", kind)
            finally:
                self._outgoing = None
                await connection.disconnect(nowait=True)
            await asyncio.sleep(pause)
            pause = min(pause * 2, LAST_PAUSE_S)

    @asynccontextmanager
    async def subscribe(self, channel: str) -> AsyncIterator[Subscription]:
        """A subscription; its first message is `RENEWED`, once Redis has confirmed it."""
        name, subscription = channel.encode(), Subscription()
        subscribed = self._channels.setdefault(name, _Channel())
        subscribed.subscriptions.add(subscription)
        if subscribed.confirmed:
            subscription.renew()
        else:
            self._send("SUBSCRIBE", name)
        try:
            yield subscription
        finally:
            subscribed.subscriptions.discard(subscription)
            if not subscribed.subscriptions and self._channels.get(name) is subscribed:
                del self._channels[name]
                self._send("UNSUBSCRIBE", name)

    async def _serve(self, connection: AbstractConnection) -> None:
        await connection.connect()
        # The pings watch it. With a timeout redis-py sends in a task of its own, which fails with
        # an AttributeError where the connection ends before it runs.
        connection.socket_timeout = None
        self._outgoing = asyncio.Queue()
        for channel in self._channels.values():
            channel.confirmed = False
        if self._channels:
            self._send("SUBSCRIBE", *self._channels)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._write_for_ever(connection, self._outgoing))
            tasks.create_task(self._ping_for_ever())
            while True:
                self._dispatch(await connection.read_response(True, math.inf))

    def _dispatch(self, message: object) -> None:
        self._heard = True
        if not isinstance(message, list) or len(message) != 3:
            return
        kind, channel, payload = message
        found = self._channels.get(channel)
        if found is None:
            return
        if kind == b"message":
            for subscription in found.subscriptions:
                subscription.put(payload)
        elif kind == b"subscribe":
            # Also when it is the echo of an earlier, cancelled subscription: looking at the log
            # once too often costs little.
            found.confirmed = True
            for subscription in found.subscriptions:
                subscription.renew()

    async def _ping_for_ever(self) -> None:
        while True:
            self._heard = False
            await asyncio.sleep(PING_S)
            if not self._heard:
                self._send("PING")
                await asyncio.sleep(PING_S)
                if not self._heard:
                    raise TimeoutError

    def _send(self, *command: str | bytes) -> None:
        """Have the command sent; without a connection the next one subscribes all channels.

        Subscribers do not send themselves: redis-py closes a connection on which a command is
        cancelled, and all others hang on this one.
        """
        if self._outgoing is not None:
            self._outgoing.put_nowait(command)

    async def _write_for_ever(
        self, connection: AbstractConnection, outgoing: asyncio.Queue[tuple[str | bytes, ...]]
    ) -> None:
        while True:
            command = await outgoing.get()
            if not connection.is_connected:
                raise ConnectionError  # redis-py would connect anew, and nobody would read
            await connection.send_command(*command, check_health=False)
