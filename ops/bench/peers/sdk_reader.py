"""`python sdk_reader.py BASE_URL STREAMS MODEL MESSAGES`: openai's async SDK, which only reads.

Runs in an environment of its own. On SIGUSR1 it prints how many deltas there were, and in how many
chunks.
"""

import asyncio
import json
import signal
import sys
from collections import Counter

from openai import AsyncOpenAI

seen: Counter[str] = Counter()


async def read(client: AsyncOpenAI, model: str, messages: list[dict[str, str]]) -> None:
    """Read one stream to its end."""
    async for chunk in await client.chat.completions.create(
        model=model, messages=messages, stream=True
    ):
        seen["chunks"] += 1
        if chunk.choices and chunk.choices[0].delta.content:
            seen["deltas"] += 1


def tell() -> None:
    """Say what was read so far."""
    print(f"events {seen['deltas']} reads {seen['chunks']}", flush=True)  # noqa: T201


async def main() -> None:
    """Read all streams, and wait to be ended."""
    base_url, streams, model = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, tell)
    client = AsyncOpenAI(base_url=base_url, api_key="none", max_retries=0)
    messages = json.loads(sys.argv[4])
    print("open", flush=True)  # noqa: T201
    await asyncio.gather(*(read(client, model, messages) for _ in range(streams)))
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
