"""`python -m ops.bench.raw BASE_URL STREAMS MODEL`: the floor, for any reader in Python.

Opens so many streams on uvloop and splits their bytes into events; nothing is decoded, kept or
published.
"""

import asyncio
import sys
from urllib.parse import urlsplit

import msgspec
import uvloop

from ops.bench.upstream import MESSAGES


class Reader(asyncio.Protocol):
    """Reads one stream."""

    events = 0

    def __init__(self, request: bytes) -> None:
        self._request = request

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        transport.write(self._request)  # type: ignore[attr-defined] # uvloop's own class

    def data_received(self, data: bytes) -> None:
        """Split what came into events."""
        Reader.events += len(data.split(b"\n\n")) - 1


async def main() -> None:
    """Read until the bench ends this process."""
    base_url, streams, model = urlsplit(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    body = msgspec.json.encode({"model": model, "messages": MESSAGES, "stream": True})
    head = f"POST {base_url.path}/chat/completions HTTP/1.1\r\nhost: {base_url.netloc}\r\n"
    request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
    loop = asyncio.get_running_loop()
    host, port = base_url.hostname or "", base_url.port or 80
    for _ in range(streams):
        await loop.create_connection(lambda: Reader(request), host, port)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main())
