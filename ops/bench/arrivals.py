"""From the upstream's write of a delta to its arrival at a plain Redis reader."""

import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import redis

from ops.bench.processes import ROOT
from ops.bench.reader import CONTROL
from ops.bench.spread import Spread
from ops.bench.upstream import Served, Upstream

# Between two messages of the control.
CONTROL_PAUSE_S = 0.01


class Reader:
    """A reader process on some channels. Meanwhile `control` publishes what measures the bench."""

    def __init__(self, url: str, channels: Iterable[str], seconds: float, file: Path) -> None:
        self._file = file
        self._redis = redis.Redis.from_url(url)
        self._process = subprocess.Popen(  # noqa: S603 - a module of this package
            [sys.executable, "-m", "ops.bench.reader", url, str(seconds), str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n".join(channels))
        self._process.stdin.close()
        self._process.stdout.readline()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self._redis.close()
        self._process.kill()
        self._process.wait()

    def control(self, seconds: float) -> None:
        """For so long, publish the time: what the way through Redis and the reader costs alone."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._redis.publish(CONTROL, str(time.time_ns()))
            time.sleep(CONTROL_PAUSE_S)

    def arrivals(self) -> list[tuple[str, int, str]]:
        """What arrived: channel, time in ns since the epoch, payload; once it has ended."""
        self._process.wait(60)
        return msgspec.json.decode(self._file.read_bytes(), type=list[tuple[str, int, str]])


def of_control(arrivals: list[tuple[str, int, str]]) -> Spread:
    """The delays of the control's messages."""
    return Spread.of([at - int(text) for channel, at, text in arrivals if channel == CONTROL])


def of_deltas(
    arrivals: list[tuple[str, int, str]], served: list[Served], simulator: Upstream
) -> Spread:
    """The delays of the deltas: each arrives with the message that ends at or beyond it."""
    written = {request.job: dict(request.times) for request in served}
    seen: dict[str, int] = {}
    delays: list[int] = []
    for channel, arrived_ns, text in arrivals:
        if channel == CONTROL:
            continue
        event = msgspec.json.decode(text)
        until = simulator.deltas_until(int(event["id"].split("-")[1]))
        times = written[event["job"]]
        # The first message of a channel only tells where its reader came in.
        for number in range(seen.setdefault(channel, until) + 1, until + 1):
            delays.append(arrived_ns - times[number])
        seen[channel] = until
    return Spread.of(delays)
