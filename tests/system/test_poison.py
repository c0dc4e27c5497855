"""A job that kills its workers is ended after three deaths; who dies by others' hands is not."""

import asyncio
import time

from tests.stack import Process, Reader, Stack
from tests.upstreams import submitted
from tests.wire import until
from worker.channel.events import ChannelEvent, Failed, Retrying, Started

QUICK = {
    "DELTAWORKS_LEASE_S": "1",
    "DELTAWORKS_RENEW_S": "0.3",
    "DELTAWORKS_SWEEP_S": "0.3",
}
POISON = "sim?tokens=2000&rate=20"


def doomed(stack: Stack) -> Process:
    """A worker of the interactive lane, perhaps not ready yet."""
    options = ("-m", "worker.cli", "worker", "--lane", "interactive")
    return stack.start("doomed", *options, **QUICK)


async def started(reader: Reader, id: str, at_least: int) -> None:
    """Return when an attempt that high has begun to stream."""
    async for event in reader.follower.follow(id):
        if isinstance(event, Started) and event.cursor.attempt >= at_least:
            return


async def completed(reader: Reader, ids: list[str]) -> None:
    async def all_are() -> bool:
        rows = await reader.store.jobs.many(ids)
        return all(row.state == "completed" for row in rows.values())

    await until(all_are)


async def test_a_job_that_kills_its_workers_is_poison_and_its_neighbours_complete(
    stack: Stack,
) -> None:
    stack.sweeping_worker("--lane", "bulk", **QUICK)
    async with stack.reader() as reader:
        poison = await submitted(stack, reader, POISON)
        neighbours = [await submitted(stack, reader, "sim?tokens=60&rate=30") for _ in range(3)]
        seen: list[ChannelEvent] = []

        async def follow() -> None:
            seen.extend(await reader.events(poison))

        following = asyncio.create_task(follow())
        worker = doomed(stack)
        await asyncio.gather(*(started(reader, id, 1) for id in [poison, *neighbours]))
        worker.kill()  # all four are charged
        worker = doomed(stack)
        await started(reader, poison, 2)
        await completed(reader, neighbours)
        worker.kill()  # the second charge
        late = await submitted(stack, reader, "sim?tokens=60&rate=30")
        worker = doomed(stack)
        await asyncio.gather(started(reader, poison, 4), started(reader, late, 1))
        worker.kill()  # a suspect's, and its last; the other one is a bystander
        doomed(stack)
        await following
        await completed(reader, [late])
        rows = await reader.store.jobs.many([poison, *neighbours, late])

    job, end = rows[poison], seen[-1]
    assert (job.state, job.error_category, job.crashes) == ("failed", "poison", 3)
    assert isinstance(end, Failed) and end.error is not None
    assert end.error.message == "3 worker processes died while they ran this job"
    assert [e.reason for e in seen if isinstance(e, Retrying)] == ["lost", "lost"]
    assert [rows[id].crashes for id in neighbours] == [1, 1, 1]
    assert (rows[late].state, rows[late].crashes) == ("completed", 0)


async def test_killing_a_worker_every_second_blames_no_job(stack: Stack) -> None:
    stack.sweeping_worker("--lane", "bulk", **QUICK)
    workers = [doomed(stack) for _ in range(3)]
    async with stack.reader() as reader:
        ids = [await submitted(stack, reader, "sim?tokens=75&rate=30") for _ in range(20)]
        await asyncio.gather(*(started(reader, id, 1) for id in ids[:3]))
        for _ in range(12):
            begun = time.monotonic()
            workers.pop(0).kill()
            workers.append(doomed(stack))
            await asyncio.sleep(max(0.0, begun + 1 - time.monotonic()))
        ends = await asyncio.gather(*(reader.end(id) for id in ids))

    assert {job.state for _, _, job in ends} == {"completed"}
    assert all(text == job.output_text for text, _, job in ends)
