"""Jobs for a scene, a reader for each of them, and the evidence that they leave behind."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

from celery import Celery
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from models import TERMINAL, Attempt, Job, Lane
from tests.faults import audit
from tests.faults.evidence import Evidence, Expected, Shutdown
from tests.stack import Reader, Stack, chat
from tests.wire import until
from worker import catalog
from worker.app import DISPATCH, RUN_JOB
from worker.channel.events import START, ChannelEvent, Delta, decode, encode
from worker.channel.log import OPEN, log_key
from worker.errors import StoreAway
from worker.ids import new_id
from worker.settings import Settings
from worker.submission import Submission

CANARY = "canary-prompt-3b9d51"
# What a service does on a refusal: it sends the same id again.
AGAIN_S = 0.1
# The sweep announces what a dead holder has not within ten seconds and a turn.
ANNOUNCED_S = 20.0


def short_job(random: Random) -> str:
    """A model whose job takes 0.2 to 1.2 s, and says something else in each attempt."""
    tokens = random.randint(10, 60)
    return f"sim?tokens={tokens}&rate={tokens / random.uniform(0.15, 1.1):.1f}&ttft=0.05&vary=1"


class Load:
    """What a test submits, and who reads it.

    Attributes:
        expected: the ids of all accepted jobs, and how each has to end.
        resumed: how often a reader came back after an error.
        wakes: whether wake-ups reach the broker.
    """

    def __init__(self, stack: Stack, reader: Reader, random: Random) -> None:
        self.expected: dict[str, Expected] = {}
        self.resumed = 0
        self.wakes = True
        self.reader = reader
        self._stack = stack
        self._random = random
        self._heard: dict[str, list[list[bytes]]] = {}
        self._reading: set[asyncio.Task[None]] = set()
        broker = stack.env.get("DELTAWORKS_BROKER_URL", stack.env["DELTAWORKS_REDIS_URL"])
        self._broker_url = broker
        self._app = Celery(broker=broker, set_as_current=False)
        self._app.conf.broker_transport_options = (
            {"socket_timeout": 3, "socket_connect_timeout": 3}
            if broker.startswith("redis")
            else {"confirm_publish": True, "max_retries": 1, "interval_start": 0}
        )
        kind = stack.env.get("DELTAWORKS_QUEUE_TYPE", "classic")
        self._app.conf.task_create_missing_queue_type = kind
        self.submission = self.submission_over(reader)

    def submission_over(self, reader: Reader) -> Submission:
        """What accepts requests in a process with these collaborators."""
        known = catalog.simulated(self._stack.base_url)
        return Submission(
            reader.store.jobs, reader.log, self.wake, self.dispatch, known, Settings()
        )

    def body(self, model: str | None = None) -> dict[str, object]:
        """A request whose prompt must not be seen anywhere."""
        return chat(model or short_job(self._random), f"{CANARY} {self._random.random()}")

    async def submit(
        self, count: int = 1, model: str | None = None, expected: Expected | None = None,
        *, readers: int = 1, **fields: object,
    ) -> list[str]:  # fmt: skip
        """Submit jobs until each is accepted, and follow them; their ids."""
        return [await self._submit(model, expected, readers, fields) for _ in range(count)]

    async def _submit(
        self,
        model: str | None,
        expected: Expected | None,
        readers: int,
        fields: dict[str, object],
    ) -> str:
        id = new_id("job_")
        body = self.body(model)
        while True:
            try:
                await self.submission.submit({"request": body, "id": id, **fields})
            except (StoreAway, SQLAlchemyError, OSError):
                await asyncio.sleep(AGAIN_S)
                continue
            break
        self.accepted(id, expected, readers)
        return id

    def accepted(self, id: str, expected: Expected | None = None, readers: int = 1) -> None:
        """Hold the system to a job that it has accepted, whoever submitted it."""
        self.expected[id] = expected or Expected()
        for _ in range(readers):
            self.follow(id)

    def follow(self, id: str) -> None:
        """Have one more reader read the job to its end."""
        heard: list[bytes] = []
        self._heard.setdefault(id, []).append(heard)
        task = asyncio.create_task(self._read(id, heard))
        self._reading.add(task)

    def also_heard(self, id: str, events: list[bytes]) -> None:
        """Hold the system to what a reader of the test's own has heard."""
        self._heard[id].append(events)

    async def wake(self, id: str, lane: str) -> bool:
        """Send the wake-up as the product does: it may fail."""
        return await self._send(RUN_JOB, (id,), lane)

    async def dispatch(self) -> bool:
        """Have bulk jobs released, in the same way."""
        return await self._send(DISPATCH, (), Lane.BULK.value)

    async def _send(self, task: str, arguments: tuple[str, ...], queue: str) -> bool:
        if not self.wakes:
            return True  # the broker took it, and forgot it
        try:
            async with asyncio.timeout(5):
                send = self._app.send_task
                await asyncio.to_thread(send, task, args=arguments, queue=queue, retry=False)
        except Exception:
            return False
        return True

    async def running(self, count: int) -> None:
        """Wait until so many of the jobs are in progress at once."""

        async def enough() -> bool:
            rows = await self.reader.store.jobs.many(self.expected)
            return sum(row.state == "in_progress" for row in rows.values()) >= count

        await until(enough)

    async def open_at_most(self, count: int) -> None:
        """Wait until so few of the jobs have not ended."""

        async def few() -> bool:
            return await self.open() <= count

        await until(few)

    def has_said(self, id: str, attempt: int) -> bool:
        """Whether text of this attempt, or a later one, has reached the job's first reader."""
        return any(e.cursor.attempt >= attempt for e in self.heard(id) if isinstance(e, Delta))

    def heard(self, id: str) -> list[ChannelEvent]:
        """What the job's first reader has heard so far."""
        return [decode(event) for event in self._heard[id][0]]

    async def ended(self, timeout_s: float) -> None:
        """Wait until every reader was told of the end of its job."""
        done, late = await asyncio.wait(self._reading, timeout=timeout_s)
        for task in done:
            task.result()
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        await _in_time(self._none_open, timeout_s)

    async def open(self) -> int:
        """How many of the jobs have not ended; the database holds no others."""
        query = select(func.count()).select_from(Job).where(Job.state.not_in(TERMINAL))
        async with self.reader.store.engine.connect() as connection:
            return await connection.scalar(query) or 0

    async def evidence(
        self, shutdowns: Sequence[Shutdown] = (), *, sample: int = 1_000_000
    ) -> Evidence:
        """What is left behind; of late readers and logs, a sample."""
        stack, env, store = self._stack, self._stack.env, self.reader.store
        await _in_time(self._none_unannounced, ANNOUNCED_S)
        ids = list(self.expected)[:sample]
        async with store.engine.connect() as connection:
            found = await connection.execute(select(Attempt.__table__))
            attempts = [Attempt(**row._mapping) for row in found]
        redis, some = self.reader.redis, asyncio.Semaphore(50)

        async def late(id: str) -> list[bytes]:
            async with some:
                return await self._late(id)

        logs: dict[str, Any] = {id: await redis.xrange(log_key(id)) for id in ids}
        keys = [key.decode() async for key in redis.scan_iter(count=1000)]
        return Evidence(
            expected=self.expected,
            jobs=await self._rows(),
            changes=await asyncio.to_thread(audit.changes, env["DELTAWORKS_DATABASE_URL"]),
            attempts=attempts,
            served=stack.record(),
            heard=self._heard,
            late=dict(zip(ids, await asyncio.gather(*map(late, ids)), strict=True)),
            logs={id: [fields[b"e"] for _, fields in log] for id, log in logs.items() if log},
            keys={key: await redis.pttl(key) for key in keys},
            printed=stack.printed(),
            left=await _contents(redis) + await self._broker_contents(),
            secrets=(CANARY, env["OPENAI_API_KEY"]),
            overlap_s=float(env["DELTAWORKS_LEASE_S"]) + float(env["DELTAWORKS_RENEW_S"]),
            shutdowns=shutdowns,
        )

    async def aclose(self) -> None:
        """Stop reading."""
        for task in self._reading:
            task.cancel()
        if self._reading:
            await asyncio.wait(self._reading)
        self._app.close()

    async def _read(self, id: str, heard: list[bytes]) -> None:
        cursor = START
        while True:
            try:
                async for event in self.reader.follower.follow(id, cursor):
                    heard.append(encode(event))
                    cursor = event.cursor
            except (StoreAway, SQLAlchemyError, RedisError, OSError):
                self.resumed += 1
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def _late(self, id: str) -> list[bytes]:
        heard: list[bytes] = []
        # A job that has not ended is told by the row; here it must not be waited for.
        try:
            async with asyncio.timeout(5):
                await self._read(id, heard)
        except TimeoutError:
            pass
        return heard

    async def _rows(self) -> dict[str, Job]:
        rows: dict[str, Job] = {}
        ids = list(self.expected)
        for start in range(0, len(ids), 500):
            rows |= await self.reader.store.jobs.many(ids[start : start + 500])
        return rows

    async def _none_open(self) -> bool:
        return await self.open() == 0

    async def _none_unannounced(self) -> bool:
        """Whether the set of jobs whose end nobody has announced names none of ours."""
        members: Any = await self.reader.redis.zrange(OPEN, 0, -1)
        return not {member.decode() for member in members} & self.expected.keys()

    async def _broker_contents(self) -> bytes:
        if not self._broker_url.startswith("redis"):
            return b""  # what RabbitMQ keeps is looked at in its files
        async with Redis.from_url(self._broker_url, protocol=2) as broker:
            return await _contents(broker)


@asynccontextmanager
async def loading(stack: Stack, random: Random) -> AsyncIterator[Load]:
    """A load on the stack; its readers end with it."""
    async with stack.reader(silence_s=1.0) as reader:
        load = Load(stack, reader, random)
        try:
            yield load
        finally:
            await load.aclose()


async def _in_time(condition: Callable[[], Awaitable[bool]], timeout_s: float) -> None:
    """Wait for the condition, but not for ever: the checker tells what is missing."""
    until = time.monotonic() + timeout_s
    while not await condition() and time.monotonic() < until:  # noqa: ASYNC110 - it tells nobody
        await asyncio.sleep(0.05)


async def _contents(redis: Redis) -> bytes:
    keys = [key async for key in redis.scan_iter(count=1000)]
    return b"".join(keys + [await redis.dump(key) or b"" for key in keys])
