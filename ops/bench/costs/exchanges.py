"""`python -m ops.bench.costs.exchanges BASE_URL MODEL COUNT AT_ONCE`: bare exchanges.

The worker's own HTTP client and reader of streams, against the simulator, and nothing else; prints
the microseconds of CPU of each.
"""

import asyncio
import sys
import time

import uvloop

from ops.bench.costs.prompts import body
from worker.catalog import Upstream
from worker.ids import new_id
from worker.runtime import settle_garbage
from worker.stream.transcript import Verdict
from worker.upstream import Exchange, Limits, Request, open_client

LONG_S = 60.0
MOST_EVENT_BYTES = 4_194_304


async def exchange(base_url: str, model: str, count: int, at_once: int) -> float:
    """The microseconds of each, once as many were made for practice as are made at once."""
    upstream = Upstream(name="simulator", base_url=base_url)
    asked = {**body(1, model), "stream": True}
    limits = Limits(LONG_S, LONG_S, LONG_S, LONG_S, LONG_S, LONG_S)

    async with open_client(LONG_S) as client:

        async def some(many: int) -> None:
            for _ in range(many):
                request = Request(upstream, asked, new_id("job_"), 1)
                one = Exchange(client, request, MOST_EVENT_BYTES, lambda _headers, *, clean: None)
                if await one.run(limits, lambda: None) is not Verdict.COMPLETE:
                    raise RuntimeError("the simulator's answer is not whole")

        await asyncio.gather(*(some(2) for _ in range(at_once)))
        settle_garbage()
        begun_s = time.process_time()
        await asyncio.gather(*(some(count // at_once) for _ in range(at_once)))
        return (time.process_time() - begun_s) / (count // at_once * at_once) * 1e6


if __name__ == "__main__":
    us = uvloop.run(exchange(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
    sys.stdout.write(f"{us}\n")
