"""`python -m ops.bench.submit COUNT MODEL`: submit so many jobs; prints their ids."""

import asyncio
import sys

from ops.bench.upstream import MESSAGES
from worker.runtime import open_client_runtime


async def main() -> None:
    """Submit, a few at a time."""
    count, model = int(sys.argv[1]), sys.argv[2]
    gate = asyncio.Semaphore(8)
    async with open_client_runtime() as client:

        async def submit() -> str:
            async with gate:
                job = await client.submission.submit(
                    {"request": {"model": model, "messages": MESSAGES}}
                )
                return job.id

        ids = await asyncio.gather(*(submit() for _ in range(count)))
    sys.stdout.write("\n".join(ids) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
