"""What is measured: Deltaworks, the plain Celery recipe, and the floor; each started alike."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import msgspec
import redis

from ops.bench import upstream
from ops.bench.peers.environment import HERE as PEERS
from ops.bench.peers.environment import peer_python
from ops.bench.processes import PATIENCE_S, ROOT, Child, run
from ops.bench.upstream import MESSAGES, Upstream
from worker.channel.log import OPEN, channel_name, log_key


class Scene(msgspec.Struct, frozen=True):
    """Where a measurement takes place, and what is streamed in it."""

    folder: Path
    redis_url: str
    base_url: str
    streams: int
    model: str


class System(Protocol):
    """Reads streams from the simulator and publishes them."""

    name: str

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start its process, and return when that could take the first stream."""

    def submit(self) -> list[str]:
        """Have it open the streams; the channels they are published on."""

    def published(self, simulator: Upstream) -> int | None:
        """How many deltas it has published so far; None where it publishes nothing."""

    def messages(self) -> int:
        """In how many messages."""


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
        self._jobs = self._submitted(self._scene.streams, self._scene.model)
        return [channel_name(job) for job in self._jobs]

    def published(self, simulator: Upstream) -> int:
        """Counted from the newest entry of every job's log."""
        pipe = self._redis.pipeline(transaction=False)
        for job in self._jobs:
            pipe.xrevrange(log_key(job), count=1)
        newest = [entries[0][0] for entries in pipe.execute() if entries]
        return sum(simulator.deltas_until(int(id.split(b"-")[1])) for id in newest)

    def messages(self) -> int:
        """Counted by Redis: each message is an entry of a log."""
        return _calls(self._redis, "xadd")

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
        command = [sys.executable, "-m", "ops.bench.submit", str(count), model]
        return run(command, self._environment).split()


class Recipe:
    """The plain Celery recipe, on one of Celery's pools."""

    def __init__(self, pool: str) -> None:
        self.name = f"celery recipe, {pool}"
        self._pool = pool

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start a worker of it with room for all streams."""
        self._scene = scene
        self._environment = {
            "RECIPE_REDIS_URL": scene.redis_url,
            "RECIPE_BASE_URL": scene.base_url,
        }
        self._redis = stack.enter_context(redis.Redis.from_url(scene.redis_url))
        command: list[str | Path] = [peer_python("celery"), "-m", "celery", "-A", "celery_recipe"]
        command += ["worker", "-l", "info", "-P", self._pool, "-c", str(scene.streams)]
        worker = Child("recipe", command, scene.folder, self._environment, PEERS)
        stack.enter_context(worker)
        worker.await_line(r"celery@\S+ ready")
        return worker

    def submit(self) -> list[str]:
        """Send a task for each stream, by a process of its environment."""
        channels = [f"recipe:{number}" for number in range(self._scene.streams)]
        code = (
            "import sys, json, celery_recipe as recipe\n"
            "model, messages, *channels = map(json.loads, sys.argv[1:])\n"
            "for channel in channels: recipe.complete.delay(channel, model, messages)\n"
        )
        words = [self._scene.model, MESSAGES, *channels]
        arguments = [msgspec.json.encode(word).decode() for word in words]
        run([peer_python("celery"), "-c", code, *arguments], self._environment, PEERS)
        return channels

    def published(self, simulator: Upstream) -> int:
        """Each delta is a message."""
        return self.messages()

    def messages(self) -> int:
        """Counted by Redis."""
        return _calls(self._redis, "publish")


class Floor:
    """A reader that does nothing with what it reads."""

    name = "raw reader"

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start it with all its streams."""
        command = [sys.executable, "-m", "ops.bench.raw", scene.base_url]
        command += [str(scene.streams), scene.model]
        return stack.enter_context(Child("raw", command, scene.folder))

    def submit(self) -> list[str]:
        """It publishes nothing."""
        return []

    def published(self, simulator: Upstream) -> int | None:
        """It publishes nothing."""
        return None

    def messages(self) -> int:
        """It publishes nothing."""
        return 0


def _calls(client: redis.Redis, command: str) -> int:
    statistics = client.info("commandstats").get(f"cmdstat_{command}", {})
    return int(statistics.get("calls", 0))
