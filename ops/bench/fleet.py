"""Some worker processes before a simulator that enforces a limit, and what became of their jobs."""

import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from sqlalchemy import create_engine, func, select

from models import TERMINAL, Attempt, schema
from models import Job as JobRow
from ops.bench.processes import ROOT, Child, run, start_redis
from tests.servers import PostgresServer

STREAMS = 200
# Any limit that cannot bind: nothing is learned from headers where a limit is configured.
UNLIMITED = 1e9


class Limit(msgspec.Struct, frozen=True):
    """How the upstream limits requests, and what the workers are told of it.

    Attributes:
        per_minute: what the upstream enforces; 0 is nothing.
        burst: how many requests it takes at once.
        known: whether the upstreams file has the limit and the responses' headers tell of it.
        cool_downs: whether a refusal has all workers wait, or only the job that met it.
    """

    per_minute: int = 0
    burst: int = 0
    known: bool = True
    cool_downs: bool = True

    def options(self) -> list[str]:
        """The simulator's."""
        options = ["--limit-requests-per-minute", str(self.per_minute)]
        options += ["--limit-burst", str(self.burst)]
        return options if self.known else [*options, "--no-limit-headers"]

    def upstreams(self, base_url: str) -> str:
        """The upstreams file."""
        told = self.per_minute if self.known and self.per_minute else UNLIMITED
        lines = ["[[upstream]]", 'name = "simulator"', f'base_url = "{base_url}"']
        return "\n".join([*lines, f"requests_per_minute = {told}", ""])

    def policy(self) -> str:
        """The policy file."""
        return "" if self.cool_downs else '[rate_limit]\ncool_down = "none"\n'


class Request(msgspec.Struct, frozen=True):
    """A request as the upstream recorded it; `head_ns` since the epoch."""

    job: str | None
    status: int | None
    head_ns: int | None


class Job(msgspec.Struct, frozen=True):
    """A job as the database has it; moments in seconds since the epoch.

    Attributes:
        requested_at: when its first request went to the upstream; None where none did.
    """

    id: str
    state: str
    throttles: int
    submitted_at: float
    requested_at: float | None
    finished_at: float | None


class Fleet:
    """Worker processes and a beat, with a Redis, a database and a simulator of their own."""

    def __init__(self, limit: Limit, database: str = "postgresql") -> None:
        self._limit = limit
        self._database = database
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def work(self, workers: int) -> None:
        """Start so many workers, and return when all of them take jobs."""
        names = [f"worker-{number}" for number in range(workers)]
        options = ["worker", "-l", "info", "-n"]
        started = [self._celery(name, [*options, f"{name}@%h"]) for name in names]
        self._celery("beat", ["beat", "-s", str(self._folder / "beat")])
        for worker in started:
            worker.await_line(r"worker-\d+@\S+ ready")

    def submit(self, count: int, model: str, lane: str, pause_s: float = 0.0) -> set[str]:
        """Submit so many jobs; their ids."""
        command = [sys.executable, "-m", "ops.bench.load", str(count), model, lane, str(pause_s)]
        return set(run(command, self._environment).split())

    def await_end(self, ids: set[str], timeout_s: float) -> list[Job]:
        """The jobs when all have ended, or after the timeout as they are then."""
        deadline = time.monotonic() + timeout_s
        while True:
            found = [job for job in self.jobs() if job.id in ids]
            if all(job.state in TERMINAL for job in found) or time.monotonic() > deadline:
                return found
            time.sleep(0.5)

    def jobs(self) -> list[Job]:
        """All jobs, oldest first."""
        requested = func.min(Attempt.started_at).label("requested_at")
        query = (
            select(JobRow.id, JobRow.state, JobRow.throttles, JobRow.created_at, requested)
            .add_columns(JobRow.finished_at)
            .outerjoin(Attempt, Attempt.job_id == JobRow.id)
            .group_by(JobRow.id)
            .order_by(JobRow.created_at)
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query).all()
        return [Job(*row[:3], *map(_epoch, row[3:])) for row in rows]

    def requests(self) -> list[Request]:
        """All requests that the upstream has answered, in the order of their answers."""
        lines = self._record.read_bytes().splitlines()
        found = [msgspec.json.decode(line, type=Request) for line in lines]
        return sorted(found, key=lambda request: request.head_ns or 0)

    def _start(self, stack: ExitStack) -> None:
        prefix = "deltaworks-limits-"
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        _, redis_url = start_redis(stack, self._folder)
        self._record = self._folder / "record"
        command = [sys.executable, "-m", "worker.simulator", "--record", str(self._record)]
        command += self._limit.options()
        simulator = stack.enter_context(Child("simulator", command, self._folder))
        database_url = self._start_database(stack)
        self._engine = create_engine(database_url)
        stack.callback(self._engine.dispose)
        upstreams = self._limit.upstreams(simulator.await_line(r"listening (\S+)")[1])
        self._environment = {
            "DELTAWORKS_HOME": str(self._folder / "home"),
            "DELTAWORKS_REDIS_URL": redis_url,
            "DELTAWORKS_DATABASE_URL": database_url,
            "DELTAWORKS_STREAMS": str(STREAMS),
            "DELTAWORKS_UPSTREAMS_FILE": self._write("upstreams.toml", upstreams),
            "DELTAWORKS_POLICY_FILE": self._write("policy.toml", self._limit.policy()),
            "PYTHONPATH": str(ROOT),
        }

    def _start_database(self, stack: ExitStack) -> str:
        url = f"sqlite:///{self._folder / 'jobs.db'}"
        if self._database == "postgresql":
            # Not below this user's folder: as root it runs under another account.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dw-pg-")))
            url = stack.enter_context(PostgresServer(folder)).create_database()
        schema.upgrade(url)
        return url

    def _write(self, name: str, text: str) -> str:
        file = self._folder / name
        file.write_text(text)
        return str(file)

    def _celery(self, name: str, words: Sequence[str]) -> Child:
        command = [sys.executable, "-m", "celery", "-A", "worker.app", *words]
        return self._stack.enter_context(Child(name, command, self._folder, self._environment))


def _epoch(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
