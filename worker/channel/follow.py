"""Following a job: every event from a cursor to the end, without a gap and without a duplicate.

Subscribe and wait for the confirmation; read the log from the cursor; then take live messages.
A message that does not follow what the reader has sends it back to the log, and where the log
does not help, to the database.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from redis.exceptions import RedisError

from models import JobState
from worker.channel.events import (
    START,
    ChannelEvent,
    Cursor,
    Delta,
    End,
    Retrying,
    Started,
    decode,
    extent,
    tail,
)
from worker.channel.hub import Hub, Subscription
from worker.channel.inquiry import Inquiry
from worker.channel.log import Log, channel_name
from worker.channel.replay import replay
from worker.errors import InvalidCursor

# How long a new reader waits for Redis before it asks the database instead.
JOIN_S = 1.0
# How long a cursor beyond the log is believed, and how often the log is looked at meanwhile: Redis
# may have lost the log's end, which comes back with the holder's next word.
BELIEVED_S, LOOK_S = 3.0, 0.2


class Gap(Exception):
    """An event does not follow what the reader has; `taken` are those before it that do."""

    def __init__(self, taken: Sequence[ChannelEvent]) -> None:
        super().__init__()
        self.taken = taken


class Position:
    """Where a reader stands, and what each event is to it."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self.ended = False
        # Whether the cursor is as the reader gave it: nothing has confirmed it yet.
        self.untried = True
        # Entries of lower attempts are void: the database's row has a higher one.
        self.floor = 0

    def take_all(self, events: Iterable[ChannelEvent]) -> list[ChannelEvent]:
        """Those of the events that are new to the reader, cut to what is new.

        Raises:
            Gap: something between the reader's cursor and an event is missing.
        """
        taken: list[ChannelEvent] = []
        for event in events:
            cursor = event.cursor
            if cursor <= self.cursor or cursor.attempt < self.floor:
                continue
            fitted = self._fitted(event, cursor)
            if fitted is None:
                raise Gap(taken)
            taken.append(fitted)
            self.cursor = cursor
            self.untried = False
            self.ended = isinstance(event, End)
        return taken

    def _fitted(self, event: ChannelEvent, cursor: Cursor) -> ChannelEvent | None:
        """What of the event is new; None where something before it is missing."""
        same = cursor.attempt == self.cursor.attempt
        if isinstance(event, Started):
            return event
        if isinstance(event, Delta):
            if not same or event.at > self.cursor.offset:
                return None
            new = cursor.offset - self.cursor.offset
            return tail(event, new) if new < extent(event) else event
        if isinstance(event, Retrying) and not same:
            return event  # voids the text of an attempt that the reader never saw
        seen = self.cursor.offset if same else 0
        return event if seen >= cursor.offset - 1 else None


class Follower:
    """Follows jobs over the collaborators of one process."""

    def __init__(self, hub: Hub, log: Log, inquiry: Inquiry, silence_s: float) -> None:
        self.hub = hub
        self._log = log
        self._inquiry = inquiry
        self._silence_s = silence_s

    async def follow(self, job: str, after: Cursor = START) -> AsyncGenerator[ChannelEvent, None]:
        """The events of the job beyond the cursor, up to and with its closing event.

        The deltas after the last `started`, concatenated, are the saved output. Works while
        Redis is away too: then the end is learned from the database.

        Raises:
            JobNotFound: no job has this id.
            InvalidCursor: the cursor lies beyond what the job has published.
        """
        position = Position(after)
        patience = min(JOIN_S, self._silence_s)
        async with self.hub.subscribe(channel_name(job)) as subscription:
            while not position.ended:
                for event in await self._hear(job, position, subscription, patience):
                    yield event
                patience = self._silence_s

    async def _hear(
        self, job: str, position: Position, subscription: Subscription, patience_s: float
    ) -> Sequence[ChannelEvent]:
        try:
            message = await subscription.get(patience_s)
            if message is not Subscription.RENEWED:
                return position.take_all([decode(message)])
        except TimeoutError:
            return await self._ask(job, position)
        except Gap:
            pass
        with _heeding_cancellation():
            return await self._read(job, position)

    async def _read(self, job: str, position: Position) -> Sequence[ChannelEvent]:
        try:
            events = await self._log.read(job, position.cursor)
        except (RedisError, OSError):
            events = None
        if events is None:
            return await self._ask(job, position)
        if not events and position.untried:
            return await self._doubt(job, position)
        taken: list[ChannelEvent] = []
        try:
            taken += position.take_all(events)
        except Gap as gap:
            taken += gap.taken
            taken += await self._ask(job, position)
        return taken

    async def _doubt(self, job: str, position: Position) -> Sequence[ChannelEvent]:
        """Look at a cursor beyond which the log has nothing: is it at the end, or past it?"""
        rest = await self._ask(job, position)
        if position.ended or position.cursor.attempt < position.floor:
            return rest
        newest = None
        with suppress(RedisError, OSError):
            newest = await reached(self._log, job, position.cursor)
        if newest is None or newest == position.cursor:
            return ()
        if newest > position.cursor:
            return await self._read(job, position)
        rest = await self._ask(job, position)
        if position.ended or position.cursor.attempt < position.floor:
            return rest
        raise InvalidCursor(f"cursor: {position.cursor} is beyond {newest}; start over")

    async def _ask(self, job: str, position: Position) -> Sequence[ChannelEvent]:
        row = await self._inquiry.job(job)
        if JobState(row.state).terminal:
            rest = list(replay(row, position.cursor))
            position.ended = True
            return rest
        if position.cursor.attempt > row.attempt:
            raise InvalidCursor(
                f"cursor: {position.cursor} is of an attempt that has not begun; start over"
            )
        position.floor = row.attempt
        return ()


async def reached(log: Log, job: str, cursor: Cursor) -> Cursor | None:
    """The log's last entry, once it is no longer before the cursor, or has been so for too long.

    None where there is no log.

    Raises:
        RedisError, OSError: Redis does not answer.
    """
    until = time.monotonic() + BELIEVED_S
    while (newest := await log.newest(job)) is not None and newest < cursor:
        if time.monotonic() > until:
            break
        await asyncio.sleep(LOOK_S)
    return newest


@contextmanager
def _heeding_cancellation() -> Iterator[None]:
    """Cancel after the block where the cancellation came to nothing within it.

    redis-py sends under `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that
    comes when the command has just been sent (bpo-37658).
    """
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    yield
    if task and task.cancelling() > before:
        raise asyncio.CancelledError
