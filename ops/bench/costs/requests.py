"""`python -m ops.bench.costs.requests ADDRESS COUNT AT_ONCE`: requests that ask for nothing.

The worker's own HTTP client and the gateway's `GET /healthz`, whose answer costs nothing to find;
prints the microseconds of CPU of each, the client's part.
"""

import asyncio
import sys
import time

import httpx
import uvloop

from worker.runtime import settle_garbage
from worker.upstream import open_client

CONNECT_S = 5.0


async def ask(address: str, count: int, at_once: int) -> float:
    """The microseconds of each, once each connection has been used."""
    async with open_client(CONNECT_S) as client:

        async def some(many: int) -> None:
            for _ in range(many):
                answer = await client.get(f"{address}/healthz")
                assert answer.status_code == httpx.codes.OK

        await asyncio.gather(*(some(2) for _ in range(at_once)))
        settle_garbage()
        begun_s = time.process_time()
        await asyncio.gather(*(some(count // at_once) for _ in range(at_once)))
        return (time.process_time() - begun_s) / (count // at_once * at_once) * 1e6


if __name__ == "__main__":
    us = uvloop.run(ask(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
    sys.stdout.write(f"{us}\n")
