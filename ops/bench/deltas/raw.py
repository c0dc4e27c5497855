"""`python -m ops.bench.deltas.raw LOOP BASE_URL STREAMS MODEL`: the limit for readers in Python.

Opens so many streams, a protocol each, on the loop of `asyncio` or of `uvloop`. It takes the bytes
out of their chunks and splits them into events, as every reader has to; nothing is decoded, kept or
published. On SIGUSR1 it prints how many events there were, and in how many reads.
"""

import asyncio
import signal
import sys
from urllib.parse import urlsplit

import msgspec
import uvloop

from ops.bench.upstream import MESSAGES
from worker.sockets import allow_many_sockets

# While as many are being opened, none of them is read.
AT_ONCE = 20


class Reader(asyncio.Protocol):
    """Reads one stream."""

    events = reads = 0

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._raw = self._text = b""
        self._in_body = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the request."""
        transport.write(self._request)  # type: ignore[attr-defined] # uvloop's own class

    def data_received(self, data: bytes) -> None:
        """Take what came out of its chunks, and split it into events."""
        Reader.reads += 1
        raw = self._raw + data
        if not self._in_body:
            _, head_end, body = raw.partition(b"\r\n\r\n")
            if not head_end:
                self._raw = raw
                return
            self._in_body, raw = True, body
        text, at = self._text, 0
        while (line_end := raw.find(b"\r\n", at)) >= 0:
            end = line_end + 2 + int(raw[at:line_end], 16)
            if len(raw) < end + 2:
                break
            text += raw[line_end + 2 : end]
            at = end + 2
        self._raw = raw[at:]
        *events, self._text = text.split(b"\n\n")
        Reader.events += len(events)


def _tell() -> None:
    sys.stdout.write(f"events {Reader.events} reads {Reader.reads}\n")
    sys.stdout.flush()


async def main(base: str, streams: int, model: str) -> None:
    """Read until the bench ends this process."""
    base_url = urlsplit(base)
    body = msgspec.json.encode({"model": model, "messages": MESSAGES, "stream": True})
    lines = [f"POST {base_url.path}/chat/completions HTTP/1.1", f"host: {base_url.netloc}"]
    lines += ["content-type: application/json", f"content-length: {len(body)}", "", ""]
    request = "\r\n".join(lines).encode() + body
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, _tell)
    host, port = base_url.hostname or "", base_url.port or 80
    for number in range(streams):
        await loop.create_connection(lambda: Reader(request), host, port)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)
    sys.stdout.write("open\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    allow_many_sockets()
    runner = uvloop.run if sys.argv[1] == "uvloop" else asyncio.run
    runner(main(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
