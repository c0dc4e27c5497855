"""The whole stack as real processes: Redis, a database, the simulator, workers."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

from celery import Celery
from redis.asyncio import Redis

from models import Job, schema
from tests.processes import eventually
from worker import catalog
from worker.cancellation import cancel
from worker.channel.events import START, ChannelEvent, Cursor, Delta, End, Started
from worker.channel.follow import Follower
from worker.channel.hub import Hub
from worker.channel.inquiry import Inquiry
from worker.channel.log import Log
from worker.settings import Settings
from worker.store import Store, connect

ROOT = Path(__file__).parents[1]
# How processes print; for programs see `test_logs`.
AS_PEOPLE_READ = {"DELTAWORKS_LOG_FORMAT": "text"}


class Process:
    """A child in a session of its own; its output goes to a file."""

    def __init__(self, log: Path, *command: str, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as output:
            self.popen = subprocess.Popen(
                [sys.executable, *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **AS_PEOPLE_READ, "PYTHONPATH": str(ROOT), **(env or {})},
                cwd=ROOT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.popen.pid

    def printed(self) -> str:
        """Everything it has printed so far."""
        return self.log.read_text("utf-8", "replace")

    def await_print(self, text: str) -> None:
        """Return when it has printed `text`; fail when it ends before."""

        def there() -> bool:
            if text in self.printed():
                return True
            assert self.popen.poll() is None, self.printed()[-2000:]
            return False

        eventually(there)

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait for its end."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait(30)

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.popen.wait(60)


def address_of(gateway: Process) -> str:
    """Where a gateway listens: `http://host:port`."""
    return gateway.printed().split("listening on ")[1].split()[0]


class Stack:
    """Starts the parts that a test asks for, and ends them all with it."""

    def __init__(self, folder: Path, redis_url: str, database_url: str) -> None:
        self.folder = folder
        self.env = {
            "DELTAWORKS_HOME": str(folder / "home"),
            "DELTAWORKS_REDIS_URL": redis_url,
            "DELTAWORKS_DATABASE_URL": database_url,
            "OPENAI_API_KEY": "sk-canary-key-0123456789",
        }
        self.address = ""  # of its gateway
        self._processes: list[Process] = []
        schema.upgrade(database_url)
        self.simulator = self.start(
            "simulator", "-m", "worker.simulator", "--record-limit", "100000"
        )
        self.simulator.await_print("listening ")
        self.base_url = self.simulator.printed().split("listening ")[1].split()[0]
        self.env["OPENAI_BASE_URL"] = self.base_url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.kill()

    def start(self, name: str, *command: str, **env: str) -> Process:
        """A Python process of the stack."""
        log = self.folder / f"{name}-{len(self._processes)}.log"
        process = Process(log, *command, env={**self.env, **env})
        self._processes.append(process)
        return process

    def printed(self) -> dict[str, str]:
        """What each process has printed so far, by the name of its log."""
        return {process.log.stem: process.printed() for process in self._processes}

    def worker(self, *options: str, **env: str) -> Process:
        """A worker that is ready to run jobs; `env` are settings."""
        command = ("-m", "celery", "-A", "worker.app", "worker", "-l", "info")
        worker = self.start(
            "worker", *command, "--without-gossip", "--without-mingle", *options, **env
        )
        worker.await_print(" ready.")
        return worker

    def sweeping_worker(self, *options: str, **env: str) -> Process:
        """A worker that ticks for the sweep as well, by our own command."""
        worker = self.start("worker", "-m", "worker.cli", "worker", "--beat", *options, **env)
        worker.await_print("ready: ")
        return worker

    def gateway(self, *options: str, **env: str) -> Process:
        """A gateway that listens, on any free port where nothing else is said, without keys."""
        options = options or ("--port", "0", "--no-keys")
        gateway = self.start("gateway", "-m", "worker.cli", "gateway", *options, **env)
        gateway.await_print("listening on ")
        return gateway

    def record(self) -> list[dict[str, Any]]:
        """What the simulator served, oldest first."""
        with urllib.request.urlopen(self.base_url.replace("/v1", "/record")) as response:
            found: list[dict[str, Any]] = json.load(response)["data"]
        for served in found:
            served["attempt"] = int(served["attempt"] or 0)
        return found

    async def wake(self, id: str, lane: str) -> bool:
        """Send the job's wake-up, as a submitting service does."""
        app = Celery(broker=self.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
        app.send_task("deltaworks.run_job", args=(id,), queue=lane)
        app.close()
        return True

    async def dispatch(self) -> bool:
        """Have a worker release bulk jobs, as a submitting service does."""
        app = Celery(broker=self.env["DELTAWORKS_REDIS_URL"], set_as_current=False)
        app.send_task("deltaworks.dispatch", queue="bulk")
        app.close()
        return True

    async def cancel(self, reader: "Reader", id: str) -> tuple[Job, bool]:
        """Cancel the job."""
        known = catalog.simulated(self.base_url)
        return await cancel(id, reader.store.jobs, reader.log, Settings(), known)

    @asynccontextmanager
    async def reader(self, silence_s: float = 1.0) -> AsyncIterator["Reader"]:
        """A reader process' collaborators in this process."""
        redis = Redis.from_url(self.env["DELTAWORKS_REDIS_URL"], protocol=2)
        store = Store(connect(self.env["DELTAWORKS_DATABASE_URL"]), "test")
        hub = Hub(redis)
        serving = asyncio.create_task(hub.run())
        try:
            log = Log(redis)
            follower = Follower(hub, log, Inquiry(store.jobs.many), silence_s)
            yield Reader(store, log, follower, redis)
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            await redis.aclose()
            await store.aclose()


class Reader:
    """Follows jobs and reads rows."""

    def __init__(self, store: Store, log: Log, follower: Follower, redis: Redis) -> None:
        self.store = store
        self.log = log
        self.follower = follower
        self.redis = redis

    async def events(self, id: str, after: Cursor = START) -> list[ChannelEvent]:
        """All events of the job, to its end."""
        return [event async for event in self.follower.follow(id, after)]

    async def exists(self, id: str) -> bool:
        """Whether the job is there yet."""
        return bool(await self.store.jobs.many([id]))

    async def end(self, id: str) -> tuple[str, End, Job]:
        """The text a reader ends up with, the closing event, and the row; they agree."""
        text = text_of(events := await self.events(id))
        end = events[-1]
        assert isinstance(end, End)
        return text, end, await self.store.jobs.get(id)


def text_of(events: list[ChannelEvent]) -> str:
    """Choice 0's text as a reader of the events holds it at the end."""
    text, attempt = "", 0
    for event in events:
        if isinstance(event, Started) or event.cursor.attempt > attempt:
            text, attempt = "", event.cursor.attempt
        if isinstance(event, Delta) and event.choice == 0:
            text += event.text or ""
    return text


def chat(model: str, prompt: str = "hello", **more: object) -> dict[str, object]:
    """A chat-completions body."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **more}


def ground_truth(served: dict[str, Any], choice: int = 0) -> str:
    """The text that the simulator's record says it served."""
    return "".join(
        output["text"]
        for output in served["output"]
        if output["choice"] == choice and output["channel"] == "content"
    )
