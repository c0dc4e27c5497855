"""What is measured, and how it is started: Deltaworks here, all others in `alternatives`."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec
import redis

from ops.bench import upstream
from ops.bench.processes import PATIENCE_S, ROOT, Child, run
from ops.bench.upstream import Upstream
from worker.channel.log import OPEN, channel_name, log_key


class Scene(msgspec.Struct, frozen=True):
    """Where a measurement takes place, and what is streamed in it."""

    folder: Path
    redis_url: str
    base_url: str
    streams: int
    model: str


class Progress(msgspec.Struct, frozen=True):
    """How many deltas were published so far, in how many messages.

    By what only reads: how many it read, in how many reads.
    """

    deltas: int
    messages: int


class System(Protocol):
    """Reads streams from the simulator, and publishes them if it does more than that."""

    name: str

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start its process, and return when that could take the first stream."""

    def submit(self) -> list[str]:
        """Have it open the streams; the channels they are published on."""

    def progress(self, simulator: Upstream) -> Progress:
        """How far it is."""


# The simulator's headers tell of limits which these streams would wait for.
UPSTREAMS = """[[upstream]]
name = "simulator"
base_url = "{}"
models = ["*"]
requests_per_minute = 1e6
tokens_per_minute = 1e10
"""


class Deltaworks:
    """A worker process as anybody starts it, and a beat for its sweep."""

    name = "deltaworks"

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start it, and run one short job, so that everything is imported and open."""
        self._scene = scene
        self.jobs: list[str] = []
        upstreams = scene.folder / "upstreams.toml"
        upstreams.write_text(UPSTREAMS.format(scene.base_url))
        self._environment = {
            "DELTAWORKS_HOME": str(scene.folder / "home"),
            "DELTAWORKS_REDIS_URL": scene.redis_url,
            "DELTAWORKS_STREAMS": str(scene.streams + 10),
            "DELTAWORKS_UPSTREAMS_FILE": str(upstreams),
            "PYTHONPATH": str(ROOT),
        }
        self._redis = stack.enter_context(redis.Redis.from_url(scene.redis_url))
        celery = [sys.executable, "-m", "celery", "-A", "worker.app"]
        worker = Child("worker", [*celery, "worker"], scene.folder, self._environment)
        stack.enter_context(worker)
        stack.enter_context(Child("beat", [*celery, "beat"], scene.folder, self._environment))
        self._run_one_job()
        return worker

    def submit(self) -> list[str]:
        """Submit a job for each stream."""
        return self.submit_some(self._scene.streams)

    def submit_some(self, count: int) -> list[str]:
        """Submit so many more jobs; their channels."""
        submitted = self._submitted(count, self._scene.model)
        self.jobs += submitted
        return [channel_name(job) for job in submitted]

    def progress(self, simulator: Upstream) -> Progress:
        """By the newest entry of every job's log; each message is an entry of one."""
        pipe = self._redis.pipeline(transaction=False)
        for job in self.jobs:
            pipe.xrevrange(log_key(job), count=1)
        newest = [entries[0][0] for entries in pipe.execute() if entries]
        deltas = sum(simulator.deltas_until(int(id.split(b"-")[1])) for id in newest)
        return Progress(deltas, calls(self._redis, "xadd"))

    def await_end(self, timeout_s: float) -> int:
        """Wait for every job's end to be announced; how many were not, where that takes longer."""
        deadline = time.monotonic() + timeout_s
        while (running := int(self._redis.zcard(OPEN))) and time.monotonic() < deadline:
            time.sleep(0.02)
        return running

    def _run_one_job(self) -> None:
        job = self._submitted(1, upstream.model(tokens=5, rate=0))[0]
        deadline = time.monotonic() + PATIENCE_S
        while not self._redis.exists(log_key(job)) or self._redis.zcard(OPEN):
            if time.monotonic() > deadline:
                raise TimeoutError("the worker ran no job")
            time.sleep(0.02)

    def _submitted(self, count: int, model: str) -> list[str]:
        command = [sys.executable, "-m", "ops.bench.load", str(count), model]
        return run(command, self._environment).split()


def calls(client: redis.Redis, command: str) -> int:
    """How often Redis was given the command."""
    statistics = client.info("commandstats").get(f"cmdstat_{command}", {})
    return int(statistics.get("calls", 0))
