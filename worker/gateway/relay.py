"""Relays: a job is followed once, however many readers it has in this process.

A reader has no queue. It knows its place among the relay's events, which are kept once for all
of them; whoever is slow falls behind and holds up, and costs, nobody else.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager

from worker.channel.events import START, ChannelEvent, Cursor, encode
from worker.channel.follow import Follower, Position
from worker.errors import ServerEnds
from worker.gateway.sse import frame

ENDS = "this server ends; come again with the last cursor"
# How often it is looked who has been silent for too long.
LOOK_S = 1.0


def frame_of(id: str, event: ChannelEvent) -> bytes:
    """The event as a server-sent event with this id."""
    return frame(encode(event), str(type(event).__struct_config__.tag), id)


class Reader:
    """One reader's place in a job: its cursor, and how far it has read in the relay."""

    __slots__ = ("_beats", "_index", "_loop", "_place", "_relay", "_told_at", "_waiter")

    def __init__(self, relay: "_Relay", after: Cursor) -> None:
        self._relay = relay
        self._place = Position(after)
        self._index = 0
        self._beats = False
        self._told_at = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def cursor(self) -> Cursor:
        """The id of the last event it was given."""
        return self._place.cursor

    @property
    def ended(self) -> bool:
        """Whether it has been given the closing event."""
        return self._place.ended

    async def more(self) -> Sequence[ChannelEvent]:
        """What is new, as soon as there is something; nothing when it is time for a heartbeat.

        Raises:
            DeltaworksError: the job cannot be followed any further; the cursor resumes.
        """
        while True:
            relay = self._relay
            fresh = self._place.take_all(relay.events[self._index :])
            self._index = len(relay.events)
            if fresh or self._beats:
                self._beats, self._told_at = False, time.monotonic()
                return fresh
            if relay.failure is not None:
                raise relay.failure
            self._waiter = self._loop.create_future()
            await self._waiter

    def frame(self, event: ChannelEvent) -> bytes:
        """The event as a server-sent event, made once for all readers of it."""
        return self._relay.frame(event)

    def wake(self) -> None:
        """There is something to look at."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def beat(self, since: float) -> None:
        """Have it return, with nothing, if it has been given nothing since that moment."""
        if self._told_at <= since:
            self._beats = True
            self.wake()


class _Relay:
    """A job's events, in order, and their readers."""

    def __init__(self) -> None:
        self.events: list[ChannelEvent] = []
        self._frames: dict[str, tuple[ChannelEvent, bytes]] = {}
        self.failure: Exception | None = None
        self.readers: set[Reader] = set()
        self.task: asyncio.Task[None] | None = None

    async def run(self, following: AsyncGenerator[ChannelEvent, None]) -> None:
        """Take in the job's events until its end."""
        try:
            async with aclosing(following):
                async for event in following:
                    self.events.append(event)
                    self._wake()
        except Exception as error:  # belongs to the readers
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """Have every reader end with this error."""
        self.failure = error
        self._wake()

    def frame(self, event: ChannelEvent) -> bytes:
        """See `Reader.frame`. A piece that was cut for one reader has the id of the whole."""
        made = self._frames.get(event.id)
        if made is None or made[0] is not event:
            made = self._frames[event.id] = (event, frame_of(event.id, event))
        return made[1]

    def _wake(self) -> None:
        for reader in self.readers:
            reader.wake()


class Relays:
    """The relays of a process, by job. `heartbeat_s` is how long a reader is left in silence."""

    def __init__(self, follower: Follower, heartbeat_s: float) -> None:
        self._follower = follower
        self._heartbeat_s = heartbeat_s
        self._relays: dict[str, _Relay] = {}
        self._ending = False

    @property
    def readers(self) -> int:
        """How many there are; for any thread."""
        return sum(len(relay.readers) for relay in list(self._relays.values()))

    def is_read(self, job: str) -> bool:
        """Whether the job has a reader here."""
        return job in self._relays

    @asynccontextmanager
    async def reader(self, job: str, after: Cursor = START) -> AsyncGenerator[Reader, None]:
        """A reader of the job beyond the cursor, which the job is known to have reached.

        Raises:
            ServerEnds: `close` was called.
        """
        if self._ending:
            raise ServerEnds(ENDS)
        relay = self._relays.get(job)
        if relay is None or relay.failure is not None:
            relay = self._relays[job] = _Relay()
            relay.task = asyncio.create_task(relay.run(self._follower.follow(job)))
        reader = Reader(relay, after)
        relay.readers.add(reader)
        try:
            yield reader
        finally:
            relay.readers.discard(reader)
            if not relay.readers:
                self._end(job, relay)

    async def run(self) -> None:
        """Send heartbeats until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            since = time.monotonic() - self._heartbeat_s
            for relay in list(self._relays.values()):
                for reader in relay.readers:
                    reader.beat(since)

    def close(self) -> None:
        """Have every reader end with `ServerEnds`, once it has been given what there is."""
        self._ending = True
        for relay in self._relays.values():
            relay.fail(ServerEnds(ENDS))

    def _end(self, job: str, relay: _Relay) -> None:
        if self._relays.get(job) is relay:
            del self._relays[job]
        if relay.task is not None:
            relay.task.cancel()
