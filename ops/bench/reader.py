"""`python -m ops.bench.reader URL SECONDS FILE`: a plain Redis reader that notes arrivals.

Subscribes to the channels on its standard input, says `subscribed`, reads for so long, and then
writes FILE: a JSON list of [channel, time of arrival in ns since the epoch, payload].
"""

import sys
import time
from pathlib import Path

import msgspec
import redis

CONTROL = "bench:control"


def main() -> None:
    """Read, and decode nothing before the time is over."""
    url, seconds, file = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
    arrived: list[tuple[int, list[bytes]]] = []
    with redis.Redis.from_url(url, protocol=2) as client:
        connection = client.connection_pool.get_connection()
        channels = sys.stdin.read().split()
        connection.send_command("SUBSCRIBE", CONTROL, *channels)
        for _ in range(len(channels) + 1):
            connection.read_response()
        sys.stdout.write("subscribed\n")
        sys.stdout.flush()
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            if connection.can_read(timeout=left_s):
                message = connection.read_response()
                arrived.append((time.time_ns(), message))
    found = [(channel, at_ns, payload) for at_ns, (_, channel, payload) in arrived]
    texts = [(channel.decode(), at_ns, payload.decode()) for channel, at_ns, payload in found]
    file.write_bytes(msgspec.json.encode(texts))


if __name__ == "__main__":
    main()
