"""`python -m ops.bench.batch.starts COUNT MODEL PAUSE_S`: how soon interactive jobs start.

Submits them one by one, with a pause after each, and follows each to its `started` event. Prints
the milliseconds from the call that submits it to that event, of each job.
"""

import asyncio
import sys
import time

import msgspec

from worker.channel.events import START, Started
from worker.runtime import Client, open_client_runtime

MESSAGES = [{"role": "user", "content": "Say one word."}]


async def delays(count: int, model: str, pause_s: float) -> list[float]:
    """The first one, which opens connections, is not among them."""
    found = []
    async with open_client_runtime() as client:
        for _ in range(count + 1):
            found.append(await _delay(client, model))
            await asyncio.sleep(pause_s)
    return found[1:]


async def _delay(client: Client, model: str) -> float:
    begun = time.perf_counter()
    job = await client.submission.submit({"request": {"model": model, "messages": MESSAGES}})
    async for event in client.follower.follow(job.id, START):
        if isinstance(event, Started):
            return round((time.perf_counter() - begun) * 1000, 2)
    raise RuntimeError("the job has ended without a start")


if __name__ == "__main__":
    ms = asyncio.run(delays(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
    sys.stdout.buffer.write(msgspec.json.encode(ms))
