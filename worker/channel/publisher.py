"""Publishing the feeds of all jobs of a process, by group commit.

One write is in flight at a time. What arrives meanwhile is merged per job and goes with the next
write: idle, a delta leaves at once; busy, the batches grow by themselves. There is no timer for
`interactive`; `bulk` feeds are flushed at most every `bulk_flush_s`.

What is in flight is immutable and is sent again unchanged after a failure, which the script
recognises. What the log lost (Redis was restarted) is rebuilt from the transcript, after the
database has confirmed that the attempt still stands.
"""

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence

from redis.exceptions import RedisError, ResponseError

from worker.channel.feed import Channel, Feed, Place
from worker.channel.log import Log, Result, Write
from worker.metrics import PUBLISHED, count, names
from worker.stream.transcript import Transcript

logger = logging.getLogger(__name__)

# At most so many jobs, and about so many bytes, in one call of the script: Redis does nothing
# else meanwhile.
MOST_JOBS = 256
MOST_BYTES = 1_000_000
# Pauses between tries while Redis or the database does not answer.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.05, 2.0
# How long a closing event is kept for a Redis that is gone. Readers learn the end from the
# database meanwhile, and the sweep announces what it finds unannounced.
PATIENCE_S = 60.0

# Codes by which Redis refuses every write for a while, not one key's. For an error inside the
# script Redis 6.2 has them in the message, under the code ERR.
REFUSES_ALL = re.compile(
    r"\b(OOM|READONLY|MISCONF|BUSY|NOREPLICAS|NOPERM|MASTERDOWN|CLUSTERDOWN|TRYAGAIN)\b"
)

# A look into the enumeration costs as much as counting a delta.
FENCED, LOST = Result.FENCED, Result.LOST

# Asks the database which of {job: attempt} this process still holds.
Standing = Callable[[Mapping[str, int]], Awaitable[set[str]]]
Composed = list[tuple[Feed, Write]]


class Publisher:
    """Writes what the feeds have to say; `run` is its one task."""

    def __init__(self, log: Log, standing: Standing, bulk_flush_s: float) -> None:
        self._log = log
        self._standing = standing
        self._bulk_flush_s = bulk_flush_s
        self._ready: deque[Feed] = deque()
        self._bulk: list[Feed] = []
        self._lost: list[Feed] = []
        self._lost_found = asyncio.Event()
        # What `_flush_for_ever` waits for. An event of asyncio's would cost three times as much.
        self._news: asyncio.Future[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        # When the first delta of the next write was read; None where there is none.
        self._since: float | None = None

    def feed(self, channel: Channel, transcript: Transcript, fenced: Callable[[], None]) -> Feed:
        """A feed for one attempt; `fenced` is called when a higher attempt exists."""
        return Feed(channel, transcript, self._touch, fenced)

    async def run(self) -> None:
        """Flush until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._flush_for_ever())
            tasks.create_task(self._recover_for_ever())

    async def drain(self, timeout_s: float) -> bool:
        """Wait until all is written; False where that takes longer than `timeout_s`."""
        self._release_bulk()
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _touch(self, feed: Feed) -> None:
        if feed.dirty:
            return
        feed.dirty = True
        self._idle.clear()
        if feed.channel.bulk:
            if not self._bulk:
                asyncio.get_running_loop().call_later(self._bulk_flush_s, self._release_bulk)
            self._bulk.append(feed)
        else:
            self._ready.append(feed)
            self._since = self._since or time.monotonic()
            self._wake()

    def _release_bulk(self) -> None:
        self._ready.extend(self._bulk)
        self._bulk.clear()
        self._wake()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _flush_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._ready:
                self._news = loop.create_future()
                try:
                    await self._news
                finally:
                    self._news = None
            while self._ready:
                await self._flush(self._compose())
            if not self._bulk and not self._lost:
                self._idle.set()

    def _compose(self) -> Composed:
        composed: Composed = []
        size = 0
        while self._ready and len(composed) < MOST_JOBS and size < MOST_BYTES:
            feed = self._ready.popleft()
            feed.dirty = False
            write = feed.compose()
            if write is not None:
                composed.append((feed, write))
                size += write.size
        return composed

    async def _flush(self, composed: Composed) -> None:
        pause, since, self._since = FIRST_PAUSE_S, self._since, None
        while composed:
            try:
                results = await self._log.write([write for _, write in composed])
            except (RedisError, OSError) as error:
                if await self._isolated(composed, error):
                    return
                composed = await self._wait(composed, pause, error)
                pause = min(pause * 2, LAST_PAUSE_S)
                continue
            for (feed, write), result in zip(composed, results, strict=True):
                feed.applied(write, result)
            _count(composed, results, since)
            if LOST in results:
                self._collect_lost([feed for feed, _ in composed])
            return

    async def _isolated(self, composed: Composed, error: Exception) -> bool:
        """Deal with a write that Redis refuses: one bad key must not hold up all jobs."""
        if not isinstance(error, ResponseError) or _refuses_all(error):
            return False
        if len(composed) == 1:
            feed = composed[0][0]
            logger.error(
                "job %s is no longer published: Redis refuses: %s", feed.channel.job, error
            )
            feed.shut()
        else:
            for one in composed:
                await self._flush([one])
        return True

    async def _wait(self, composed: Composed, pause: float, error: Exception) -> Composed:
        if pause == FIRST_PAUSE_S:
            logger.warning("publishing waits for Redis: %s", type(error).__name__)
        await asyncio.sleep(pause)
        oldest = time.monotonic() - PATIENCE_S
        return [item for item in composed if (item[0].closed_at or oldest) >= oldest]

    def _collect_lost(self, feeds: Sequence[Feed]) -> None:
        self._lost += [feed for feed in feeds if feed.place is Place.LOST]
        self._lost_found.set()

    async def _recover_for_ever(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            await self._lost_found.wait()
            try:
                await self._recover(list(self._lost))
                pause = FIRST_PAUSE_S
            except Exception as error:  # whatever the database driver raises: it comes back
                logger.warning("logs wait for the database: %s", type(error).__name__)
                await asyncio.sleep(pause)
                pause = min(pause * 2, LAST_PAUSE_S)

    async def _recover(self, lost: list[Feed]) -> None:
        unsure = {feed.channel.job: feed.channel.attempt for feed in lost if not feed.ended}
        held = await self._standing(unsure) if unsure else set()
        logger.info("rebuilding %d logs that Redis has lost", len(lost))
        count(names.REBUILT, by=len(lost))
        self._lost = self._lost[len(lost) :]
        if not self._lost:
            self._lost_found.clear()
        for feed in lost:
            # A committed end is for ever: it needs no confirmation.
            feed.confirmed(feed.ended or feed.channel.job in held)
        self._wake()


def _count(composed: Composed, results: list[Result], since: float | None) -> None:
    """Count what was published; `since` is when the first of it was read. The hot path."""
    interactive = bulk = 0
    for feed, write in composed:
        if feed.channel.bulk:
            bulk += len(write.entries)
        else:
            interactive += len(write.entries)
    PUBLISHED.interactive += interactive
    PUBLISHED.bulk += bulk
    if since is not None:
        PUBLISHED.seconds.add(time.monotonic() - since)
    if fenced := results.count(FENCED):
        count(names.FENCED, "channel", by=fenced)


def _refuses_all(error: ResponseError) -> bool:
    return REFUSES_ALL.search(f"{error.status_code} {error}") is not None
