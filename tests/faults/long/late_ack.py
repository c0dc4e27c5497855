"""The peer: the same jobs, workers and kills, and nothing but Celery's own redelivery."""

import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

import redis
from celery import Celery

from tests.faults.figures import Figures
from tests.faults.load import short_job
from tests.faults.long.found import BACKLOG, KILL_EVERY_S, WORKERS, Found, tell
from tests.faults.long.late_ack_task import ANSWERS, STARTS
from tests.servers import RedisServer
from tests.stack import Process, chat

APP = "tests.faults.long.late_ack_task"
CELERY = ("-m", "celery", "-A", APP, "worker", "-l", "warning", "-P", "threads", "-c", "100")
# No more kills once nothing has ended for so long, and what has not ended so much later is lost:
# several visibility timeouts, and every message has come again.
STUCK_S, QUIET_S = 10.0, 40.0


def late_ack(jobs: int, seed: int) -> Found:
    """Four workers, of which one is killed every second, until every task has ended or is lost."""
    begun = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="dw-late-") as folder,
        _Peer(Path(folder), jobs, seed) as peer,
    ):
        peer.run()
        starts, answers = peer.counts()
    figures = Figures(seed=seed, jobs=jobs, kills=peer.kills)
    figures.requests, figures.most = sum(starts), max(starts, default=0)
    return Found(
        load="plain Celery, late acknowledgement",
        figures=figures,
        lost=jobs - answers,
        twice=sum(count > 1 for count in starts),
        violations=[],
        seconds=time.monotonic() - begun,
    )


class _Peer:
    def __init__(self, folder: Path, jobs: int, seed: int) -> None:
        self._folder = folder
        self._jobs = jobs
        self._random = Random(seed)
        self._redis = RedisServer(folder)
        self._sent = 0
        self.kills = 0

    def __enter__(self) -> "_Peer":
        self._redis.start()
        self._store = redis.Redis.from_url(self._redis.url)
        self._simulator = self._process("simulator", ("-m", "worker.simulator"), {})
        self._simulator.await_print("listening ")
        self._app = Celery(broker=self._redis.url, set_as_current=False)
        self._workers = [self._worker() for _ in range(WORKERS)]
        return self

    def __exit__(self, *_: object) -> None:
        for process in (*self._workers, self._simulator):
            process.kill()
        self._app.close()
        self._store.close()
        self._redis.stop()

    def run(self) -> None:
        """Send, and kill a worker every second, until nothing ends any more."""
        answered, moved_at, told_at = 0, time.monotonic(), 0.0
        while answered < self._jobs and time.monotonic() < moved_at + STUCK_S + QUIET_S:
            began = time.monotonic()
            self._send(answered)
            if time.monotonic() < moved_at + STUCK_S:
                self._kill()
            if time.monotonic() > told_at + 5:
                told_at = time.monotonic()
                tell(f"  {answered:,} of {self._jobs:,} tasks have ended")
            time.sleep(max(0.0, began + KILL_EVERY_S - time.monotonic()))
            if (found := self._answers()) > answered:
                answered, moved_at = found, time.monotonic()

    def counts(self) -> tuple[list[int], int]:
        """How often each job was started, and how many have an answer."""
        starts: Any = self._store.hvals(STARTS)
        return [int(count) for count in starts], self._answers()

    def _send(self, answered: int) -> None:
        until = time.monotonic() + KILL_EVERY_S / 2
        while self._sent < min(self._jobs, answered + BACKLOG) and time.monotonic() < until:
            body = {**chat(short_job(self._random)), "stream": True}
            self._app.send_task("late_ack.complete", (f"{self._sent:08}", body))
            self._sent += 1

    def _kill(self) -> None:
        place = self._random.randrange(WORKERS)
        self._workers[place].kill()
        self._workers[place] = self._worker()
        self.kills += 1

    def _answers(self) -> int:
        found: Any = self._store.hlen(ANSWERS)
        return int(found)

    def _worker(self) -> Process:
        base_url = self._simulator.printed().split("listening ")[1].split()[0]
        env = {"LATE_ACK_REDIS_URL": self._redis.url, "LATE_ACK_BASE_URL": base_url}
        return self._process("worker", CELERY, env)

    def _process(self, name: str, command: tuple[str, ...], env: dict[str, str]) -> Process:
        return Process(self._folder / f"{name}.log", *command, env=env)
