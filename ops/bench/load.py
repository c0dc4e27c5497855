"""`python -m ops.bench.load COUNT MODEL [LANE [PAUSE_S]]`: submit so many jobs; prints their ids.

Eight at a time, or one by one with a pause of so many seconds after each.
"""

import asyncio
import sys

from models import Lane
from ops.bench.upstream import MESSAGES
from worker.runtime import open_client_runtime


async def main() -> None:
    """Submit them."""
    count, model = int(sys.argv[1]), sys.argv[2]
    lane = sys.argv[3] if len(sys.argv) > 3 else Lane.INTERACTIVE.value
    pause_s = float(sys.argv[4]) if len(sys.argv) > 4 else 0.0
    gate = asyncio.Semaphore(1 if pause_s else 8)
    document = {"request": {"model": model, "messages": MESSAGES}, "lane": lane}
    async with open_client_runtime() as client:

        async def submit() -> str:
            async with gate:
                job = await client.submission.submit(document)
                await asyncio.sleep(pause_s)
                return job.id

        ids = await asyncio.gather(*(submit() for _ in range(count)))
    sys.stdout.write("\n".join(ids) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
