"""The parts of a job's cost, each by itself, in groups as large as they were in the run."""

import sys
import time
from contextlib import ExitStack

import msgspec
import redis

from models import Lane
from ops.bench.costs.empty import Sent
from ops.bench.costs.groups import Groups
from ops.bench.costs.meters import Meter
from ops.bench.costs.prompts import EMPTY
from ops.bench.costs.scene import Scene
from ops.bench.processes import Child, start_redis

# Exchanges and requests that run at once: enough that none waits for another.
AT_ONCE = 50
# Messages for practice, before any is counted.
PRACTICE = 100
# How long all messages may take.
PATIENCE_S = 120.0


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """Microseconds of CPU a job.

    Attributes:
        task: empty tasks on the worker's pool, as many as a job has; of a batch's row one, divided
            by the rows that a wake-up carries.
        send: of their messages.
        broker: Redis's part of both.
        exchange: the bare HTTP exchange with the upstream.
        request: an HTTP request to the gateway that asks for nothing, at both ends, as many as a
            job has.
        statements: insert, claim, end, and of rows release; the database server's part included.
    """

    task: float
    send: float
    broker: float
    exchange: float
    request: float = 0.0
    statements: dict[str, float]

    @property
    def sum(self) -> float:
        """Of all of them."""
        once = self.task + self.send + self.broker + self.exchange + self.request
        return once + sum(self.statements.values())


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """What a message with an empty task costs on the worker's own pool, in microseconds of CPU.

    Attributes:
        task: to take it.
        send: to send it.
        broker: Redis's part.
        per_s: messages that one process has sent, and the worker has taken, in a second.
    """

    task: float
    send: float
    broker: float
    per_s: float


def of_rows(scene: Scene, groups: Groups, rows: int) -> Parts:
    """The parts of a batch's row, measured in the scene, whose worker has nothing to do meanwhile.

    Args:
        scene: where the pipeline was measured.
        groups: how its rows went together.
        rows: as many exchanges, rows of statements, and a tenth as many messages.
    """
    found, carried = messages(scene, max(rows // 10, 50), groups.carried), groups.carried
    return Parts(
        task=round(found.task / carried, 1),
        send=round(found.send / carried, 1),
        broker=round(found.broker / carried, 1),
        exchange=exchange(scene, rows),
        statements=statements(scene, groups, rows),
    )


def exchange(scene: Scene, count: int) -> float:
    """Of one of so many exchanges with the upstream."""
    words = scene.base_url, EMPTY, count, AT_ONCE
    return round(float(scene.printed_by("costs.exchanges", *words)), 1)


def request(scene: Scene, address: str, count: int) -> float:
    """Of one of so many requests to the gateway at the address, both ends together."""
    gateway = scene.meters["gateway"]
    before_s = gateway.cpu_s()
    us = float(scene.printed_by("costs.requests", address, count, AT_ONCE))
    return round(us + (gateway.cpu_s() - before_s) / count * 1e6, 1)


def statements(scene: Scene, groups: Groups, rows: int) -> dict[str, float]:
    """Of so many rows, by statement, in a database that has nothing else."""
    encoded = msgspec.json.encode(groups).decode()
    words = scene.new_database("statements"), rows, encoded, scene.database_pid
    printed = scene.printed_by("costs.statements", *words)
    found = msgspec.json.decode(printed, type=dict[str, float])
    return {name: round(us, 1) for name, us in found.items()}


def messages(scene: Scene, count: int, carried: int = 0) -> Messages:
    """Of one of so many messages; each carries so many rows, or with 0 one job."""
    with ExitStack() as stack:
        folder = scene.folder / "empty"
        folder.mkdir(exist_ok=True)
        redis_server, url = start_redis(stack, folder)
        client = stack.enter_context(redis.Redis.from_url(url))
        environment = {**scene.environment, "DELTAWORKS_REDIS_URL": url}
        command = [sys.executable, "-m", "celery", "-A", "ops.bench.costs.empty", "worker"]
        child = stack.enter_context(Child("empty", command, folder, environment))
        worker, broker = Meter("empty", child.pid), Meter("redis", redis_server.pid)

        def send(many: int) -> Sent:
            printed = scene.printed_by("costs.empty", many, carried, redis_url=url)
            _await_taken(client)
            return msgspec.json.decode(printed, type=Sent)

        send(PRACTICE)
        worker_s, broker_s = worker.cpu_s(), broker.cpu_s()
        sent = send(count)
        took_s = time.time() - sent.begun_at
        worker_s, broker_s = worker.cpu_s() - worker_s, broker.cpu_s() - broker_s
    return Messages(
        task=round(worker_s / count * 1e6, 1),
        send=round(sent.us, 1),
        broker=round(broker_s / count * 1e6, 1),
        per_s=round(count / took_s, 1),
    )


def _await_taken(client: redis.Redis) -> None:
    """Return when no message waits, and none is unacknowledged.

    Raises:
        TimeoutError: some still do.
    """
    deadline = time.monotonic() + PATIENCE_S
    while any(client.llen(lane.value) for lane in Lane) or client.hlen("unacked"):
        if time.monotonic() > deadline:
            raise TimeoutError("the messages are not taken")
        time.sleep(0.02)
