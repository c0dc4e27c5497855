"""A gateway that is killed costs its readers a second, and its callers no second job."""

import asyncio
from asyncio import FIRST_COMPLETED
from contextlib import suppress

import httpx
import pytest

from tests.reader import Reader
from tests.servers import free_port
from tests.sse import EventSource
from tests.stack import Process, Stack, chat
from tests.wire import until

pytestmark = pytest.mark.xdist_group("gateway gateway dies")

JOBS, READERS_EACH = 20, 25


async def started(stack: Stack, port: int) -> Process:
    return await asyncio.to_thread(stack.gateway, "--port", str(port), "--no-keys")


async def test_five_hundred_readers_of_a_gateway_that_is_killed_miss_nothing(
    live: Stack, http: httpx.AsyncClient
) -> None:
    port = free_port()
    doomed = await started(live, port)
    jobs = [
        {"request": chat("sim?tokens=40&rate=5&ttft=1", f"number {number}")}
        for number in range(JOBS)
    ]
    submitted = await http.post("/v1/jobs", json={"jobs": jobs})
    ids = [job["id"] for job in submitted.raise_for_status().json()["data"]]
    readers = [(id, EventSource()) for id in ids for _ in range(READERS_EACH)]
    async with asyncio.timeout(100), asyncio.TaskGroup() as reading:
        for id, source in readers:
            path = f"/v1/jobs/{id}/events"
            reading.create_task(source.run(f"http://127.0.0.1:{port}", path))
        await until(lambda: all(len(source.heard) > 5 for _, source in readers))
        doomed.kill()
        await started(live, port)
    saved = {id: (await http.get(f"/v1/jobs/{id}")).json()["output_text"] for id in ids}
    for id, source in readers:
        reader = Reader()
        for event in source.heard:
            reader.hear(event)
        assert reader.parts[0, "text"] == saved[id]
        assert reader.end is not None and reader.end["type"] == "completed"
        # One before the gateway died, one after, and the one that learned that there is no more.
        assert (source.status, source.connections) == (204, 3)


async def test_one_idempotency_key_is_one_job_whenever_the_gateway_dies(
    live: Stack, http: httpx.AsyncClient
) -> None:
    document = {"request": chat("sim?tokens=2&rate=0&ttft=0"), "metadata": {"once": "only"}}
    headers = {"idempotency-key": "fifty at once"}
    port = free_port()
    found: set[str] = set()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

        async def submit() -> None:
            answer = await client.post("/v1/jobs", json=document, headers=headers)
            found.add(answer.raise_for_status().json()["id"])

        async def give_up() -> None:
            with suppress(httpx.TransportError):
                await submit()

        for least in (0, 1, 5):
            doomed = await started(live, port)
            async with asyncio.TaskGroup() as trying:
                asked = {trying.create_task(give_up()) for _ in range(50)}
                done: set[asyncio.Task[None]] = set()
                while len(done) < least:
                    done |= (await asyncio.wait(asked - done, return_when=FIRST_COMPLETED))[0]
                doomed.kill()
        again = await started(live, port)
        await submit()
        again.kill()
    assert len(found) == 1
    listed = (await http.get("/v1/jobs?metadata[once]=only")).json()["data"]
    assert [job["id"] for job in listed] == list(found)
