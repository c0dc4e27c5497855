"""Asks the database and the Redis servers from time to time, and keeps the last answers.

Each question is one that its server answers from an index or a counter. What is not answered is
not told: an old number would look like a new one.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial

from redis.asyncio import Redis
from redis.exceptions import RedisError

from models import OPEN, Batch, Lane
from worker import metrics
from worker.errors import StoreAway
from worker.metrics import BOUNDS, Sample, names
from worker.store import Counts, Store, Tally, Waiting
from worker.survey.schedule import behind_s

logger = logging.getLogger(__name__)

# The pause between two surveys: as Prometheus scrapes by default.
PAUSE_S = 15.0
# Answers that are older are told no more.
OLD_S = 4 * PAUSE_S
# How long Redis may take to answer.
PATIENCE_S = 5.0


class Survey:
    """The fleet as its servers see it.

    Args:
        store: the database.
        servers: the Redis servers, by what they are for.
        broker: where messages wait; None where that is no Redis.
        queues: names of its queues.
        pause_s: seconds between two surveys.
    """

    def __init__(
        self,
        store: Store,
        servers: Mapping[str, Redis],
        broker: Redis | None,
        queues: Sequence[str],
        pause_s: float = PAUSE_S,
    ) -> None:
        self._store = store
        self._servers = servers
        self._broker = broker
        self._queues = queues
        self._pause_s = pause_s
        self._counts: Counts | None = None
        self._counted_at = 0.0
        self._memory: dict[str, tuple[int, int]] = {}
        self._messages: dict[str, int] = {}

    def offer(self) -> None:
        """Have the answers read at each scrape of this process."""
        readings: dict[names.Metric, Callable[[Counts], Sequence[Sample]]] = {
            names.SURVEYED: lambda _: [((), self._counted_at)],
            names.QUEUED: lambda counts: list(_queued(counts)),
            names.OLDEST_QUEUED: _oldest,
            names.RUNNING: lambda counts: [((lane,), counts.running.get(lane, 0)) for lane in Lane],
            names.PROCESSES: lambda counts: [((), counts.processes)],
            names.BATCHES: _batches,
            names.PAUSED_BATCHES: _paused,
            names.BATCH_ROWS: _rows,
            names.BATCH_BEHIND: _behind,
            names.BATCH_LEFT: _left,
            names.SUSPENSIONS: _suspensions,
        }
        for metric, reading in readings.items():
            metrics.read(metric, partial(self._told, reading))
        memory = self._memory
        metrics.read(names.REDIS_MEMORY, lambda: [((s,), used) for s, (used, _) in memory.items()])
        metrics.read(
            names.REDIS_MEMORY_MAX, lambda: [((s,), most) for s, (_, most) in memory.items()]
        )
        metrics.read(names.MESSAGES, lambda: [((q,), n) for q, n in self._messages.items()])

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await asyncio.gather(self._ask_database(), self._ask_redis())
            await asyncio.sleep(self._pause_s)

    def _told(self, reading: Callable[[Counts], Sequence[Sample]]) -> Sequence[Sample]:
        is_old = time.time() - self._counted_at > OLD_S
        return [] if self._counts is None or is_old else reading(self._counts)

    async def _ask_database(self) -> None:
        try:
            self._counts = await self._store.census.take()
            self._counted_at = time.time()
        except StoreAway as away:
            logger.warning("the survey waits: %s", away)

    async def _ask_redis(self) -> None:
        memory: dict[str, tuple[int, int]] = {}
        messages: dict[str, int] = {}
        try:
            async with asyncio.timeout(PATIENCE_S):
                for name, redis in self._servers.items():
                    memory[name] = _memory(await redis.info("memory"))
                for queue in self._queues if self._broker is not None else ():
                    assert self._broker is not None
                    messages[queue] = await self._broker.llen(queue)
        except (RedisError, OSError, TimeoutError) as error:
            logger.warning("the survey cannot ask Redis: %s", type(error).__name__)
        self._memory.clear()
        self._memory.update(memory)
        self._messages.clear()
        self._messages.update(messages)


def _memory(info: Mapping[str, int]) -> tuple[int, int]:
    """What it uses, and what it may."""
    return info["used_memory"], info.get("maxmemory") or info.get("total_system_memory", 0)


def _queued(counts: Counts) -> Iterator[Sample]:
    kinds = Counter({(lane.value, kind): 0 for lane in Lane for kind in ("worker", "moment")})
    kinds[Lane.BULK.value, "release"] = 0
    for each in counts.released:
        kinds[each.lane, "moment" if each.later else "worker"] += each.jobs
    for each in counts.held:
        kinds[each.lane, "moment" if each.later else "release"] += each.jobs
    yield from kinds.items()


def _oldest(counts: Counts) -> Sequence[Sample]:
    return [((lane,), _age_s(counts.now, [*counts.released, *counts.held], lane)) for lane in Lane]


def _age_s(now: datetime, waiting: Sequence[Waiting], lane: str) -> float:
    due = (each.since for each in waiting if each.lane == lane and not each.later)
    ages = ((now - since).total_seconds() for since in due if since is not None)
    return max(ages, default=0.0)


def _batches(counts: Counts) -> Sequence[Sample]:
    by_status = Counter(batch.status for batch in counts.batches)
    return [((status.value,), by_status[status.value]) for status in OPEN]


def _paused(counts: Counts) -> Sequence[Sample]:
    paused = (batch.pause_reason or "other" for batch in counts.batches if batch.paused_at)
    return [((reason,), number) for reason, number in Counter(paused).items()]


def _rows(counts: Counts) -> Sequence[Sample]:
    tallies = [Tally.of(batch.tally) for batch in counts.batches]
    done, failed = sum(each.completed for each in tallies), sum(each.failed for each in tallies)
    total = sum(batch.total for batch in counts.batches)
    return [(("done",), done), (("failed",), failed), (("open",), max(total - done - failed, 0))]


def _behind(counts: Counts) -> Sequence[Sample]:
    found = [behind_s(batch, counts.now) for batch in counts.batches]
    behind = [each for each in found if each is not None]
    return [((), max(behind))] if behind else []


def _left(counts: Counts) -> Sequence[Sample]:
    ends = [batch.expires_at for batch in counts.batches if _is_running(batch)]
    return [((), (min(ends) - counts.now).total_seconds())] if ends else []


def _is_running(batch: Batch) -> bool:
    return batch.in_progress_at is not None and batch.finalizing_at is None


def _suspensions(counts: Counts) -> Sequence[Sample]:
    stand = Counter((BOUNDS.upstream(s.upstream), s.category) for s in counts.suspensions)
    return [(key, number) for key, number in stand.items()]
