"""`python -m ops.bench.costs.exchanges BASE_URL MODEL COUNT PER_S`: bare exchanges.

The worker's own HTTP client and reader of streams, against the simulator, and nothing else; prints
the microseconds of CPU of each.
"""

import sys
from collections.abc import Iterator

import uvloop

from ops.bench.costs.pace import Pace, us_of_each
from ops.bench.costs.prompts import body
from worker.catalog import Upstream
from worker.ids import new_id
from worker.stream.transcript import Verdict
from worker.upstream import Exchange, Limits, Request, open_client

LONG_S = 60.0
MOST_EVENT_BYTES = 4_194_304


async def exchange(base_url: str, model: str, count: int, per_s: float) -> float:
    """The microseconds of each, so many a second, once each connection has been used."""
    upstream = Upstream(name="simulator", base_url=base_url)
    asked = {**body(1, model), "stream": True}
    limits = Limits(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S, LONG_S)

    async with open_client(LONG_S) as client:

        async def some(numbers: Iterator[int], pace: Pace) -> None:
            for number in numbers:
                await pace.reach(number)
                request = Request(upstream, asked, new_id("job_"), 1)
                one = Exchange(client, request, MOST_EVENT_BYTES, lambda _headers, *, clean: None)
                if await one.run(limits, lambda: None) is not Verdict.COMPLETE:
                    raise RuntimeError("the simulator's answer is not whole")

        return await us_of_each(some, count, per_s)


if __name__ == "__main__":
    us = uvloop.run(exchange(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
    sys.stdout.write(f"{us}\n")
