"""The scene of a fault: a stack with servers of its own, its workers, and what befalls them."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from random import Random

from tests.faults import audit
from tests.faults.checker import violations
from tests.faults.evidence import Evidence, Shutdown
from tests.faults.figures import Figures
from tests.faults.load import Load, loading
from tests.servers import RedisServer
from tests.stack import Process, Stack

# Short, so that a test sees in seconds what takes half a minute in earnest.
LEASE_S, RENEW_S, SWEEP_S = 2.0, 0.5, 0.3
SETTINGS = {
    "DELTAWORKS_LEASE_S": str(LEASE_S),
    "DELTAWORKS_RENEW_S": str(RENEW_S),
    "DELTAWORKS_SWEEP_S": str(SWEEP_S),
    "DELTAWORKS_STREAMS": "100",
}
WORKER = ("-m", "worker.cli", "worker", "--beat", "--log-level", "debug")
# For scenes with a beat of their own.
BEATLESS = tuple(word for word in WORKER if word != "--beat")


class Scene:
    """One test's stack, with a Redis for the channel and another for the broker.

    Attributes:
        worker: how a worker is started.
        evidence: what was left behind, once the load has ended.
        kills, healed: when a worker was killed, and when another fault was over; seconds since
            the epoch.
    """

    def __init__(self, stack: Stack, channel: RedisServer, broker: RedisServer, seed: int) -> None:
        self.stack = stack
        self.channel = channel
        self.broker = broker
        self.random = Random(seed)
        self.figures = Figures(seed=seed)
        self.worker: tuple[str, ...] = WORKER
        self.workers: list[Process] = []
        self.kills: list[float] = []
        self.healed: list[float] = []
        self.shutdowns: list[Shutdown] = []

    @property
    def database_url(self) -> str:
        return self.stack.env["DELTAWORKS_DATABASE_URL"]

    @asynccontextmanager
    async def load(self) -> AsyncIterator[Load]:
        """Jobs and readers; when the block ends, all must be as if nothing had happened."""
        async with loading(self.stack, self.random) as load:
            yield load
            await load.ended(60)
            self.figures.resumed = load.resumed
            self.judge(await load.evidence(self.shutdowns))

    def judge(self, evidence: Evidence) -> None:
        """Count, and fail on every invariant that does not hold."""
        self.evidence = evidence
        evidence.torn = bool(self.kills or self.healed)
        self.figures.read(evidence, self.kills, self.healed)
        found = violations(evidence)
        assert not found, "\n".join([f"seed {self.figures.seed}", *found[:20]])

    async def employ(self, count: int = 1, **env: str) -> None:
        """Start so many workers, and wait until they take jobs."""
        started = [self.stack.start("worker", *self.worker, **env) for _ in range(count)]
        self.workers += started
        for worker in started:
            await asyncio.to_thread(worker.await_print, "ready: ")

    async def kill(self, victim: Process | None = None, **env: str) -> None:
        """SIGKILL to this worker, or to any; another one takes its place."""
        victim = victim or self.random.choice(self.workers)
        place = self.workers.index(victim)
        self.kills.append(time.time())
        self.figures.kills += 1
        await asyncio.to_thread(victim.kill)
        self.workers[place] = self.stack.start("worker", *self.worker, **env)

    def served(self) -> bool:
        """Whether a worker takes jobs."""
        return any("ready: " in worker.printed() for worker in self.workers)

    def lease(self, lease_s: float) -> None:
        """Have workers that start from now on keep their jobs for so long, for tests in which
        nobody is to lose one: a busy machine alone may cost a short lease.
        """
        times = {"DELTAWORKS_LEASE_S": str(lease_s), "DELTAWORKS_RENEW_S": str(lease_s / 4)}
        self.stack.env |= times

    def revive(self) -> None:
        """Start a worker in the place of each that has ended, as a supervisor does."""
        for place, worker in enumerate(self.workers):
            if worker.popen.poll() is not None:
                self.workers[place] = self.stack.start("worker", *self.worker)

    def dismiss(self, worker: Process) -> None:
        """SIGTERM; see `gone`."""
        self.workers.remove(worker)
        worker.send(signal.SIGTERM)

    async def gone(self, worker: Process, since: float, grace_s: float) -> None:
        """Wait until it has ended; `since` is the moment of SIGTERM on the monotonic clock."""
        code = await asyncio.to_thread(worker.popen.wait, grace_s + 30)
        self.shutdowns.append(Shutdown(code, time.monotonic() - since, grace_s))

    @contextmanager
    def injury(self) -> Iterator[None]:
        """Whatever breaks within the block is whole again after it."""
        self.figures.injuries += 1
        yield
        self.healed.append(time.time())

    def let_time_pass(self, seconds: float) -> None:
        """See `audit.let_time_pass`."""
        audit.let_time_pass(self.database_url, seconds)


@contextmanager
def scene(folder: Path, database_url: str, seed: int) -> Iterator[Scene]:
    """A scene in the folder, with the audit in its database."""
    with (
        _redis(folder / "channel") as channel,
        _redis(folder / "broker") as broker,
        Stack(folder, channel.url, database_url) as stack,
    ):
        stack.env |= {"DELTAWORKS_BROKER_URL": broker.url, **SETTINGS}
        audit.install(database_url)
        yield Scene(stack, channel, broker, seed)


def _redis(folder: Path) -> RedisServer:
    folder.mkdir()
    # Uncompressed, so that a secret in a dump can be found.
    return RedisServer(folder, options=("--rdbcompression", "no"))
