"""`python -m ops.bench.costs.requests ADDRESS COUNT PER_S`: requests that ask for nothing.

The worker's own HTTP client and the gateway's `GET /healthz`, whose answer costs nothing to find;
prints the microseconds of CPU of each, the client's part.
"""

import sys
from collections.abc import Iterator

import httpx
import uvloop

from ops.bench.costs.pace import Pace, us_of_each
from worker.upstream import open_client

CONNECT_S = 5.0


async def ask(address: str, count: int, per_s: float) -> float:
    """The microseconds of each, so many a second, once each connection has been used."""
    async with open_client(CONNECT_S) as client:

        async def some(numbers: Iterator[int], pace: Pace) -> None:
            for number in numbers:
                await pace.reach(number)
                answer = await client.get(f"{address}/healthz")
                assert answer.status_code == httpx.codes.OK

        return await us_of_each(some, count, per_s)


if __name__ == "__main__":
    us = uvloop.run(ask(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
    sys.stdout.write(f"{us}\n")
