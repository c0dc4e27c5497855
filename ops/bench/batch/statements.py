"""`python -m ops.bench.batch.statements URL ROWS RELEASED CLAIMED ENDED DATABASE_PID`.

What the database statements of a row cost, in groups of so many rows: inserted, released, claimed
and ended by the worker's own store in a database that has our schema and nothing else. Prints
microseconds of CPU a row, by statement, that of the database server included.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import msgspec
import uvloop

from models import Attempt, Job
from ops.bench.batch.meters import Meter
from ops.bench.batch.scene import EMPTY
from tests.batches import LEASE_S, inserted, row, taken
from tests.jobs import attempt, ended
from worker.runtime import settle_garbage
from worker.store import Row, Store, connect

# As many as are read in at a time.
INSERTED = 1_000
# Rows that go through all of it before anything is measured.
PRACTICE = 500

T = TypeVar("T")


class Groups(msgspec.Struct, frozen=True):
    """How many rows go with one statement."""

    released: int
    claimed: int
    ended: int


class Statements:
    """Takes rows from their insertion to their ends."""

    def __init__(self, store: Store, groups: Groups, server: Meter | None) -> None:
        self.us: dict[str, float] = {}
        self._store = store
        self._groups = groups
        self._server = server

    async def run(self, count: int) -> None:
        """All of it, for a batch of so many rows."""
        store, groups = self._store, self._groups
        rows, batch = [_row(number) for number in range(count)], await taken(store)
        async with self._measured("insert", count):
            for some in portions(rows, INSERTED):
                assert await inserted(store, batch, some)
        assert await store.intake.begin(batch, count, EMPTY, {})
        ids: list[str] = []
        async with self._measured("release", count):
            while len(ids) < count:
                ids += await self._released(batch.id, min(groups.released, count - len(ids)))
        jobs = []
        async with self._measured("claim", count):
            for some_ids in portions(ids, groups.claimed):
                jobs += await asyncio.gather(*(store.holds.claim(id, LEASE_S) for id in some_ids))
        records = [_end(job) for job in jobs if job is not None]
        assert len(records) == count
        async with self._measured("end", count):
            for some_ends in portions(records, groups.ended):
                settled = await asyncio.gather(*(store.holds.settle(*each) for each in some_ends))
                assert all(settled)

    async def _released(self, batch: str, most: int) -> Sequence[str]:
        found = await self._store.dispatching.release(lambda _claimants, _room: {batch: most})
        assert found is not None
        return found.ids[batch]

    @asynccontextmanager
    async def _measured(self, name: str, rows: int) -> AsyncIterator[None]:
        before_s = self._used_s()
        yield
        self.us[name] = (self._used_s() - before_s) / rows * 1e6

    def _used_s(self) -> float:
        return time.process_time() + (self._server.cpu_s() if self._server else 0.0)


def portions(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """The items, so many at a time."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _row(number: int) -> Row:
    message = {"role": "user", "content": f"Say in one word what number {number} brings to mind."}
    body = {"model": EMPTY, "messages": [message], "stream": True}
    return row(number, model=EMPTY, request=msgspec.json.encode(body).decode())


def _end(job: Job) -> tuple[Job, Attempt]:
    """The claimed job with the columns of its end, and the record of its one request."""
    usage: dict[str, object] = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
    job.upstream, job.upstream_request_id, job.usage = "simulator", "req_1", usage
    record = attempt(job, parts=[(0, "text", 4)], usage=usage, length=4, finish_reason="stop")
    return ended(job, "word"), record


async def measure(url: str, rows: int, groups: Groups, database_pid: int) -> dict[str, float]:
    """Microseconds of CPU a row, by statement."""
    store = Store(connect(url), "bench")
    try:
        server = Meter("database", database_pid) if database_pid else None
        statements = Statements(store, groups, server)
        await statements.run(PRACTICE)
        settle_garbage()
        await statements.run(rows)
    finally:
        await store.aclose()
    return statements.us


if __name__ == "__main__":
    rows, released, claimed, ended_together, pid = map(int, sys.argv[2:7])
    groups = Groups(released, claimed, ended_together)
    us = uvloop.run(measure(sys.argv[1], rows, groups, pid))
    sys.stdout.buffer.write(msgspec.json.encode(us))
