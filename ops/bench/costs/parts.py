"""The parts of a job's cost, each by itself: in groups as large as they were in the run, and at
its pace (see `pace`).
"""

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

# How long a part is measured, which comes so many times a second; and how often at least.
SECONDS, LEAST = 2.0, 10
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


def of_rows(scene: Scene, groups: Groups, per_s: float) -> Parts:
    """The parts of a batch's row, measured in the scene, whose worker has nothing to do meanwhile.

    Args:
        scene: where the pipeline was measured.
        groups: how its rows went together.
        per_s: how many there were a second.
    """
    carried = groups.carried
    found = messages(scene, per_s / carried, carried)
    return Parts(
        task=round(found.task / carried, 1),
        send=round(found.send / carried, 1),
        broker=round(found.broker / carried, 1),
        exchange=exchange(scene, per_s),
        statements=statements(scene, groups, per_s),
    )


def exchange(scene: Scene, per_s: float) -> float:
    """Of one exchange with the upstream, of so many a second."""
    words = scene.base_url, EMPTY, _count(per_s), per_s
    return round(float(scene.printed_by("costs.exchanges", *words)), 1)


def request(scene: Scene, address: str, per_s: float) -> float:
    """Of one request to the gateway at the address, of so many a second; both ends together."""
    gateway, count = scene.meters["gateway"], _count(per_s)
    before_s = gateway.cpu_s()
    us = float(scene.printed_by("costs.requests", address, count, per_s))
    return round(us + (gateway.cpu_s() - before_s) / count * 1e6, 1)


def statements(scene: Scene, groups: Groups, per_s: float) -> dict[str, float]:
    """Of a job, of so many a second, by statement, in a database that has nothing else."""
    encoded = msgspec.json.encode(groups).decode()
    url = scene.new_database("statements")
    words = url, _count(per_s), encoded, per_s, scene.database_pid
    printed = scene.printed_by("costs.statements", *words)
    found = msgspec.json.decode(printed, type=dict[str, float])
    return {name: round(us, 1) for name, us in found.items()}


def messages(scene: Scene, per_s: float, carried: int = 0, count: int = 0) -> Messages:
    """Of a message, of so many a second; each carries so many rows, or with 0 one job.

    With 0 a second they are sent one after the other, `count` in all.
    """
    count = count or _count(per_s)
    with ExitStack() as stack:
        folder = scene.folder / "empty"
        folder.mkdir(exist_ok=True)
        redis_server, url = start_redis(stack, folder)
        client = stack.enter_context(redis.Redis.from_url(url))
        environment = {**scene.environment, "DELTAWORKS_REDIS_URL": url}
        command = [sys.executable, "-m", "celery", "-A", "ops.bench.costs.empty", "worker"]
        child = stack.enter_context(Child("empty", command, folder, environment))
        worker, broker = Meter("empty", child.pid), Meter("redis", redis_server.pid)

        def send(many: int, per_s: float) -> Sent:
            printed = scene.printed_by("costs.empty", many, carried, per_s, redis_url=url)
            _await_taken(client)
            return msgspec.json.decode(printed, type=Sent)

        send(PRACTICE, 0.0)
        worker_s, broker_s = worker.cpu_s(), broker.cpu_s()
        sent = send(count, per_s)
        took_s = time.time() - sent.begun_at
        worker_s, broker_s = worker.cpu_s() - worker_s, broker.cpu_s() - broker_s
    return Messages(
        task=round(worker_s / count * 1e6, 1),
        send=round(sent.us, 1),
        broker=round(broker_s / count * 1e6, 1),
        per_s=round(count / took_s, 1),
    )


def _count(per_s: float) -> int:
    return max(LEAST, round(per_s * SECONDS))


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
