"""The parts of a row's cost, each by itself, in groups as large as they were in the pipeline."""

import sys
import time
from contextlib import ExitStack

import msgspec
import redis

from models import Lane
from ops.bench.batch.counted import Counts
from ops.bench.batch.meters import Meter
from ops.bench.batch.scene import EMPTY, Scene
from ops.bench.processes import Child, start_redis

# Exchanges that run at once: enough that none waits for another.
AT_ONCE = 50
# Messages for practice, before any is counted.
PRACTICE = 100
# How long all messages may take.
PATIENCE_S = 120.0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of CPU a row.

    Attributes:
        task: an empty task on the worker's pool, divided by the rows a wake-up carries.
        send: of a wake-up, divided likewise.
        broker: Redis's part of both.
        exchange: the bare HTTP exchange.
        statements: insert, release, claim, end; the database server's part included.
    """

    task: float
    send: float
    broker: float
    exchange: float
    statements: dict[str, float]

    @property
    def sum(self) -> float:
        """Of all of them."""
        return self.task + self.send + self.broker + self.exchange + sum(self.statements.values())


def measure(scene: Scene, counts: Counts, rows: int) -> Parts:
    """Measure them in the scene, whose worker has nothing to do meanwhile.

    Args:
        scene: where the pipeline was measured.
        counts: how many rows its groups had.
        rows: as many exchanges, rows of statements, and a tenth as many messages.
    """
    carried = counts.woken / max(counts.wakes, 1)
    task_us, send_us, broker_us = _messages(scene, max(rows // 10, 50), round(carried))
    words = scene.base_url, EMPTY, rows, AT_ONCE
    exchange_us = float(scene.printed_by("exchanges", *words))
    groups = (
        round(counts.released / max(counts.releases, 1)),
        round(counts.claimed / max(counts.claims, 1)),
        round(counts.ended / max(counts.ends, 1)),
    )
    words_ = scene.new_database("statements"), rows, *(max(1, each) for each in groups)
    printed = scene.printed_by("statements", *words_, scene.database_pid)
    return Parts(
        task=round(task_us / carried, 1),
        send=round(send_us / carried, 1),
        broker=round(broker_us / carried, 1),
        exchange=round(exchange_us, 1),
        statements={
            name: round(us, 1)
            for name, us in msgspec.json.decode(printed, type=dict[str, float]).items()
        },
    )


def _messages(scene: Scene, count: int, carried: int) -> tuple[float, float, float]:
    """Microseconds of CPU of a message: to take it, to send it, and Redis's."""
    with ExitStack() as stack:
        folder = scene.folder / "empty"
        folder.mkdir()
        redis_server, url = start_redis(stack, folder)
        client = stack.enter_context(redis.Redis.from_url(url))
        environment = {**scene.environment, "DELTAWORKS_REDIS_URL": url}
        command = [sys.executable, "-m", "celery", "-A", "ops.bench.batch.empty", "worker"]
        child = stack.enter_context(Child("empty", command, folder, environment))
        worker, broker = Meter("empty", child.pid), Meter("redis", redis_server.pid)

        def send(many: int) -> float:
            us = float(scene.printed_by("empty", many, carried, redis_url=url))
            _await_taken(client)
            return us

        send(PRACTICE)
        worker_s, broker_s = worker.cpu_s(), broker.cpu_s()
        send_us = send(count)
        worker_s, broker_s = worker.cpu_s() - worker_s, broker.cpu_s() - broker_s
    return worker_s / count * 1e6, send_us, broker_s / count * 1e6


def _await_taken(client: redis.Redis) -> None:
    """Return when no message waits, and none is unacknowledged.

    Raises:
        TimeoutError: some still do.
    """
    deadline = time.monotonic() + PATIENCE_S
    while client.llen(Lane.BULK.value) or client.hlen("unacked"):
        if time.monotonic() > deadline:
            raise TimeoutError("the messages are not taken")
        time.sleep(0.02)
