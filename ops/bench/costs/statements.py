"""`python -m ops.bench.costs.statements URL ROWS GROUPS PER_S DATABASE_PID`.

What the database statements of a job cost, in groups as GROUPS (JSON) says, and at so many jobs a
second: inserted, claimed and ended by the worker's own store in a database that has our schema and
nothing else; rows of a batch are released, too. Prints microseconds of CPU a job, by statement,
that of the database server included.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import msgspec
import uvloop

from models import Attempt, Job
from ops.bench.costs.groups import Groups
from ops.bench.costs.meters import Meter
from ops.bench.costs.pace import Pace
from ops.bench.costs.prompts import EMPTY, body
from tests.batches import LEASE_S, inserted, row, taken
from tests.jobs import DEADLINE_S, attempt, ended, new_id, request
from worker.request import JobRequest
from worker.runtime import settle_garbage
from worker.store import Claimant, Row, Store, Wanted, connect
from worker.submission import TENANT

# As many as are read in at a time.
INSERTED = 1_000
# Rows that go through all of it before anything is measured.
PRACTICE = 500

T = TypeVar("T")


class Statements:
    """Takes jobs from their insertion to their ends."""

    def __init__(self, store: Store, groups: Groups, per_s: float, server: Meter | None) -> None:
        self.us: dict[str, float] = {}
        self._per_s = per_s
        self._store = store
        self._groups = groups
        self._server = server

    async def run(self, count: int) -> None:
        """All of it, for so many."""
        store, groups = self._store, self._groups
        ids = await (self._submitted(count) if groups.submitted else self._released(count))
        jobs = []
        async with self._measured("claim", count):
            async for some_ids in self._paced(ids, groups.claimed):
                jobs += await asyncio.gather(*(store.holds.claim(id, LEASE_S) for id in some_ids))
        records = [_end(job) for job in jobs if job is not None]
        assert len(records) == count
        async with self._measured("end", count):
            async for some_ends in self._paced(records, groups.ended):
                settled = await asyncio.gather(*(store.holds.settle(*each) for each in some_ends))
                assert all(settled)

    async def _submitted(self, count: int) -> Sequence[str]:
        """The ids of so many jobs, each inserted by itself, some at a time."""
        requests = [_request(number) for number in range(count)]
        ids = list[str]()
        async with self._measured("insert", count):
            async for some in self._paced(requests, self._groups.submitted):
                ids += await asyncio.gather(*(self._insert(each) for each in some))
        return ids

    async def _insert(self, wanted: JobRequest) -> str:
        insert = self._store.jobs.insert
        job, _ = await insert(wanted, id=new_id(), tenant=TENANT, deadline_s=DEADLINE_S)
        return job.id

    async def _released(self, count: int) -> Sequence[str]:
        """The ids of so many rows of a batch."""
        store, groups, ids = self._store, self._groups, list[str]()
        rows, batch = [_row(number) for number in range(count)], await taken(store)
        async with self._measured("insert", count):
            for some in portions(rows, INSERTED):
                assert await inserted(store, batch, some)
        assert await store.intake.begin(batch, count, EMPTY, {})
        async with self._measured("release", count):
            async for numbers in self._paced(range(count), groups.released):
                most = len(numbers)
                found = await store.dispatching.release(partial(_so_many, batch.id, most))
                assert found is not None
                ids += found.ids[batch.id]
        return ids

    async def _paced(self, items: Sequence[T], size: int) -> AsyncIterator[Sequence[T]]:
        """The items, so many at a time, as they come in the run."""
        pace = Pace(self._per_s)
        for number, some in enumerate(portions(items, size)):
            await pace.reach(number * size)
            yield some

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


def _request(number: int) -> JobRequest:
    return request(str(number), body={**body(number), "stream": True}, model=EMPTY)


def _so_many(batch: str, most: int, _claimants: Sequence[Claimant], _room: int) -> Wanted:
    return Wanted({batch: most})


def _row(number: int) -> Row:
    encoded = msgspec.json.encode({**body(number), "stream": True}).decode()
    return row(number, model=EMPTY, request=encoded)


def _end(job: Job) -> tuple[Job, Attempt]:
    """The claimed job with the columns of its end, and the record of its one request."""
    usage: dict[str, object] = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": 21}
    job.upstream, job.upstream_request_id, job.usage = "simulator", "req_1", usage
    record = attempt(job, parts=[(0, "text", 4)], usage=usage, length=4, finish_reason="stop")
    return ended(job, "word"), record


async def measure(
    url: str, rows: int, groups: Groups, per_s: float, database_pid: int
) -> dict[str, float]:
    """Microseconds of CPU a row, by statement."""
    store = Store(connect(url), "bench")
    try:
        server = Meter("database", database_pid) if database_pid else None
        await Statements(store, groups, 0.0, server).run(PRACTICE)
        settle_garbage()
        statements = Statements(store, groups, per_s, server)
        await statements.run(rows)
    finally:
        await store.aclose()
    return statements.us


if __name__ == "__main__":
    groups = msgspec.json.decode(sys.argv[3], type=Groups)
    per_s, pid = float(sys.argv[4]), int(sys.argv[5])
    us = uvloop.run(measure(sys.argv[1], int(sys.argv[2]), groups, per_s, pid))
    sys.stdout.buffer.write(msgspec.json.encode(us))
