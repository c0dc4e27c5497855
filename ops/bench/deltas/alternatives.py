"""What else reads the same streams: raw readers, openai's SDK, the Celery recipe, LiteLLM."""

import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import redis

from ops.bench.gateway.systems import LiteLLM
from ops.bench.peers.environment import HERE as PEERS
from ops.bench.peers.environment import peer_python
from ops.bench.processes import PATIENCE_S, Child, run
from ops.bench.systems import Progress, Scene, calls
from ops.bench.upstream import MESSAGES, Upstream

TOLD = re.compile(r"events (\d+) reads (\d+)\n")


class Reading:
    """A process that only reads, and tells how much when it is asked by a signal."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start it with all its streams."""
        self._reader = stack.enter_context(Child("reader", self.command(scene), scene.folder))
        self._reader.await_line("open")
        return self._reader

    def command(self, scene: Scene) -> Sequence[str | Path]:
        """Its command line."""
        raise NotImplementedError

    def submit(self) -> list[str]:
        """It has opened its streams, and publishes nothing."""
        return []

    def progress(self, simulator: Upstream) -> Progress:
        """What it tells."""
        return told(self._reader)


class Raw(Reading):
    """The limit: asyncio, bytes, and nothing else."""

    def __init__(self, loop: str) -> None:
        super().__init__(f"raw {loop} reader")
        self._loop = loop

    def command(self, scene: Scene) -> Sequence[str | Path]:
        """In this bench's own environment."""
        return raw(self._loop, scene.base_url, scene)


class Sdk(Reading):
    """The SDK of most services: it makes an object of each chunk."""

    def __init__(self) -> None:
        super().__init__("openai async SDK, reading only")

    def command(self, scene: Scene) -> Sequence[str | Path]:
        """In its environment."""
        messages = msgspec.json.encode(MESSAGES).decode()
        program = PEERS / "sdk_reader.py"
        streams = str(scene.streams)
        return [peer_python("celery"), program, scene.base_url, streams, scene.model, messages]


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

    def progress(self, simulator: Upstream) -> Progress:
        """Counted by Redis: each delta is a message."""
        published = calls(self._redis, "publish")
        return Progress(published, published)


class Proxy:
    """LiteLLM's proxy: it passes streams on to a raw reader, whose events count."""

    name = "litellm proxy"

    def start(self, stack: ExitStack, scene: Scene) -> Child:
        """Start it alone."""
        self._stack, self._scene = stack, scene
        self._relay = LiteLLM()
        [proxy] = self._relay.open(stack, scene)
        return proxy

    def submit(self) -> list[str]:
        """Start its client, with all streams."""
        command = raw("uvloop", f"{self._relay.address}/v1", self._scene)
        self._client = self._stack.enter_context(Child("client", command, self._scene.folder))
        self._client.await_line("open")
        return []

    def progress(self, simulator: Upstream) -> Progress:
        """What has reached the client: a message is a delta."""
        heard = told(self._client).deltas
        return Progress(heard, heard)


def raw(loop: str, base_url: str, scene: Scene) -> list[str | Path]:
    """The command line of a raw reader."""
    streams = str(scene.streams)
    return [sys.executable, "-m", "ops.bench.deltas.raw", loop, base_url, streams, scene.model]


def told(reader: Child) -> Progress:
    """Ask a process that only reads, and wait for what it says.

    Raises:
        RuntimeError: it says nothing.
    """
    before = len(TOLD.findall(reader.printed()))
    os.kill(reader.pid, signal.SIGUSR1)
    deadline = time.monotonic() + PATIENCE_S
    while len(found := TOLD.findall(reader.printed())) == before:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{reader.name} does not answer:\n{reader.printed()[-3000:]}")
        time.sleep(0.001)
    deltas, reads = map(int, found[-1])
    return Progress(deltas, reads)
