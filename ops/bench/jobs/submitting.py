"""`python -m ops.bench.jobs.submitting WAY COUNT ADDRESS`: submit so many empty jobs.

By the settings of the environment, or to the gateway at the address. Prints the CPU seconds that
took, once some were submitted for practice.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import httpx
import uvloop
from celery import Celery

from ops.bench.costs.prompts import body
from ops.bench.jobs.ways import CHAT, LISTED, LISTS, MESSAGE, PYTHON, SINGLY, WAYS, Way
from worker import connect, endpoints
from worker.app import SUBMIT
from worker.runtime import settle_garbage
from worker.upstream import open_client

CONNECT_S = 5.0
# Submits the jobs whose numbers begin with this one: a request's, or one.
Submit = Callable[[int], Awaitable[None]]


@asynccontextmanager
async def _python(_address: str) -> AsyncIterator[Submit]:
    async with connect() as deltaworks:

        async def submit(number: int) -> None:
            await deltaworks.submit(body(number))

        yield submit


@asynccontextmanager
async def _message(_address: str) -> AsyncIterator[Submit]:
    with Celery(broker=endpoints.resolve().broker_url, set_as_current=False) as app:

        async def submit(number: int) -> None:
            # As a service without a loop does it: it blocks.
            app.send_task(SUBMIT, args=[{"request": body(number)}], queue=SUBMIT)

        yield submit


@asynccontextmanager
async def _singly(address: str) -> AsyncIterator[Submit]:
    async with _posting(f"{address}/v1/jobs") as post:
        yield lambda number: post({"request": body(number)})


@asynccontextmanager
async def _lists(address: str) -> AsyncIterator[Submit]:
    async with _posting(f"{address}/v1/jobs") as post:

        async def submit(number: int) -> None:
            numbers = range(number, number + LISTED)
            await post({"jobs": [{"request": body(each)} for each in numbers]})

        yield submit


@asynccontextmanager
async def _chat(address: str) -> AsyncIterator[Submit]:
    async with _posting(f"{address}/v1/chat/completions") as post:
        yield lambda number: post({**body(number), "stream": True})


@asynccontextmanager
async def _posting(url: str) -> AsyncIterator[Callable[[dict[str, object]], Awaitable[None]]]:
    """Posts documents, and reads the answers to their ends."""
    async with open_client(CONNECT_S) as client:

        async def post(document: dict[str, object]) -> None:
            answer = await client.post(url, json=document)
            if answer.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
                raise RuntimeError(f"answered {answer.status_code}: {answer.text[:500]}")

        yield post


SUBMITTERS = {
    PYTHON: _python,
    MESSAGE: _message,
    SINGLY: _singly,
    LISTS: _lists,
    CHAT: _chat,
}


async def submit(way: Way, count: int, address: str) -> float:
    """The CPU seconds that so many jobs took."""
    async with SUBMITTERS[way](address) as send:
        each, at_once = way.jobs or 1, way.at_once
        asked = count // each

        async def some(first: int, last: int) -> None:
            for number in range(first, last):
                await send(number * each)

        settle_garbage()
        bounds = [asked * n // at_once for n in range(at_once + 1)]
        begun_s = time.process_time()
        await asyncio.gather(*(some(*ends) for ends in pairwise(bounds)))
        return time.process_time() - begun_s


if __name__ == "__main__":
    chosen = next(way for way in WAYS if way.word == sys.argv[1])
    used_s = uvloop.run(submit(chosen, int(sys.argv[2]), sys.argv[3]))
    sys.stdout.write(f"{used_s}\n")
