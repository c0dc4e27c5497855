"""Where costs are measured: a Redis, a simulator, a database; if asked for a worker, a gateway."""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import msgspec
import redis
from celery import Celery
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from models import Batch, BatchStatus, File, schema
from ops.bench.costs.counted import COUNTS, Counts, counts_in
from ops.bench.costs.meters import Meter
from ops.bench.costs.prompts import EMPTY, body
from ops.bench.processes import ROOT, Child, run, start_redis, start_simulator
from tests.servers import PostgresServer
from worker.app import SWEEP
from worker.batch import BatchSubmission
from worker.batch.request import CHAT
from worker.files import Storage, new_file_id
from worker.settings import Settings
from worker.store import Store, connect
from worker.submission import TENANT

SQLITE, POSTGRESQL = "sqlite", "postgresql"
# How many streams a worker carries where nothing is set.
STREAMS = 500
# The simulator's headers tell of 10,000 requests a minute, which these rows would wait for. They
# are learned for each model, whatever is configured for all models together. What is configured
# here is not far above the rest that they tell of: of a bucket much larger than that, bulk would
# have to leave all of it alone.
UPSTREAMS = """[[upstream]]
name = "simulator"
base_url = "{}"
models = ["*"]

[upstream.model."*"]
requests_per_minute = 1e6
tokens_per_minute = 1e9
{}
"""
# How often a batch is looked at.
LOOK_S = 0.25
# Rows of a batch that warms the worker up.
WARMING = 200
# How long that may take: the worker's start is part of it.
PATIENCE_S = 120.0


class Scene:
    """All that a measurement needs, gone with it.

    Args:
        database: which kind.
        streams: how many a worker carries.
        prices: a table of prices for the upstreams file.

    Attributes:
        environment: what a process of ours needs to find all that.
    """

    def __init__(self, database: str, *, streams: int = STREAMS, prices: str = "") -> None:
        self.database = database
        self._streams = streams
        self._prices = prices
        self._stack = ExitStack()
        self._postgres: PostgresServer | None = None
        self._databases = 0
        self.meters: dict[str, Meter] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        prefix = "deltaworks-bench-"
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        redis_server, self.redis_url = start_redis(stack, self.folder)
        self.redis = stack.enter_context(redis.Redis.from_url(self.redis_url))
        simulator, self.base_url = start_simulator(stack, self.folder)
        if self.database == POSTGRESQL:
            # Not below this user's folder: as root it runs under another account.
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dw-pg-")))
            self._postgres = stack.enter_context(PostgresServer(folder))
            self.meters["database"] = Meter("database", self._postgres.pid)
        self.meters["redis"] = Meter("redis", redis_server.pid)
        self.meters["simulator"] = Meter("simulator", simulator.pid)
        self.url = self.new_database("jobs")
        self._engine = create_engine(self.url)
        stack.callback(self._engine.dispose)
        upstreams = self.folder / "upstreams.toml"
        upstreams.write_text(UPSTREAMS.format(self.base_url, self._prices))
        self._home = self.folder / "home"
        self._counts = self.folder / "counts"
        self.environment = {
            "DELTAWORKS_HOME": str(self._home),
            "DELTAWORKS_REDIS_URL": self.redis_url,
            "DELTAWORKS_DATABASE_URL": self.url,
            "DELTAWORKS_STREAMS": str(self._streams),
            "DELTAWORKS_UPSTREAMS_FILE": str(upstreams),
            "PYTHONPATH": str(ROOT),
        }

    def new_database(self, name: str) -> str:
        """An empty database of the scene's kind, with our schema; its URL."""
        self._databases += 1
        url = f"sqlite:///{self.folder / name}-{self._databases}.db"
        if self._postgres is not None:
            url = self._postgres.create_database()
        schema.upgrade(url)
        return url

    def work(self) -> Child:
        """Start a worker and a beat, and have them run a small batch, so that all is open."""
        celery = [sys.executable, "-m", "celery", "-A"]
        counting = {**self.environment, COUNTS: str(self._counts)}
        commands = {
            "worker": ([*celery, "ops.bench.costs.counted", "worker"], counting),
            "beat": ([*celery, "worker.app", "beat"], self.environment),
        }
        started = {}
        for name, (command, environment) in commands.items():
            child = self._stack.enter_context(Child(name, command, self.folder, environment))
            self.meters[name] = Meter(name, child.pid)
            started[name] = child
        try:
            self.await_end(self.batch(self.rows(WARMING, [EMPTY])), PATIENCE_S)
        except TimeoutError as error:
            printed = started["worker"].printed()[-3000:]
            raise RuntimeError(f"the worker runs no batch:\n{printed}") from error
        return started["worker"]

    def serve(self) -> str:
        """Start a gateway of one process, without keys; its address."""
        command = [sys.executable, "-m", "worker.cli", "gateway", "--port", "0", "--no-keys"]
        child = self._stack.enter_context(Child("gateway", command, self.folder, self.environment))
        self.meters["gateway"] = Meter("gateway", child.pid)
        return child.await_line(r"listening on (\S+)")[1]

    def rows(self, count: int, models: Sequence[str]) -> Path:
        """A file of so many rows, whose models take turns."""
        file = self.folder / f"{count}-of-{len(models)}.jsonl"
        with file.open("wb") as out:
            for number in range(count):
                out.write(row(number, models[number % len(models)]))
        return file

    def batch(self, file: Path, **options: object) -> str:
        """A batch of the file, as its owner asks for it; its id."""
        return asyncio.run(self._create(file, options))

    async def _create(self, file: Path, options: dict[str, object]) -> str:
        store = Store(connect(self.url), "bench")
        try:
            id = await put(store, self._home, file)
            document = {"input_file_id": id, "endpoint": CHAT, **options}
            submission = BatchSubmission(store, self._nudge, Settings(home=self._home))
            return (await submission.create(document, tenant=TENANT)).id
        finally:
            await store.aclose()

    async def _nudge(self) -> bool:
        with Celery(broker=self.redis_url, set_as_current=False) as app:
            await asyncio.to_thread(app.send_task, SWEEP, queue=SWEEP)
        return True

    def look(self, id: str) -> Batch:
        """The batch as it is now."""
        with Session(self._engine) as session:
            return session.scalars(select(Batch).where(Batch.id == id)).one()

    def session(self) -> Session:
        """To ask the database."""
        return Session(self._engine)

    def await_end(self, id: str, timeout_s: float) -> Batch:
        """The batch once it has ended.

        Raises:
            TimeoutError: that takes longer.
        """
        deadline = time.monotonic() + timeout_s
        while not BatchStatus((batch := self.look(id)).status).terminal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the batch is {batch.status} after {timeout_s:g} s")
            time.sleep(LOOK_S)
        return batch

    def counts(self) -> Counts:
        """What the worker has counted so far."""
        return counts_in(self._counts)

    def printed_by(self, module: str, *words: object, redis_url: str = "") -> bytes:
        """What a module of `ops.bench` prints, run in the scene, or with another Redis."""
        command = [sys.executable, "-m", f"ops.bench.{module}", *map(str, words)]
        other = {"DELTAWORKS_REDIS_URL": redis_url} if redis_url else {}
        return run(command, {**self.environment, **other}).encode()

    @property
    def database_pid(self) -> int:
        """The database server's; 0 where the database is a file."""
        return 0 if self._postgres is None else self._postgres.pid


def row(number: int, model: str) -> bytes:
    """A line of a batch's file."""
    asked = body(number, model)
    given = {"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": asked}
    return msgspec.json.encode(given) + b"\n"


async def put(store: Store, home: Path, file: Path) -> str:
    """Keep a file for a batch; its id."""
    kept = await asyncio.to_thread(_copied, home, file)
    return (await store.files.add(kept)).id


def _copied(home: Path, file: Path) -> File:
    """The row of a file whose content has been put where a worker looks for it."""
    id = new_file_id()
    with Storage(f"file://{home.absolute() / 'files'}").writing(id) as out, file.open("rb") as data:
        shutil.copyfileobj(data, out, 1 << 20)
    size, now = file.stat().st_size, datetime.now(UTC)
    return File(
        id=id, tenant=TENANT, purpose="batch", filename=file.name, bytes=size, created_at=now
    )
