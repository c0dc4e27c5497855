"""A batch in a scene: its file, the gateway it comes through, what befalls it, what it came to."""

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from random import Random
from types import TracebackType
from typing import Any, Self

import httpx
import redis
from msgspec import Struct
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from models import Batch, BatchStatus, Job
from tests.faults.batch_checker import Outcome
from tests.faults.evidence import Expected, ending
from tests.faults.load import AGAIN_S, Load
from tests.faults.scene import Scene
from tests.servers import free_port
from tests.stack import Process
from worker.errors import StoreAway

CHAT = "/v1/chat/completions"
LOOK_S = 0.05
# Of how many rows late readers and logs are looked at.
SAMPLE = 20

GOOD, BAD = ending("completed"), ending("failed", category="content_filter")
# The upstream refuses it once. Whoever had the refusal may have died of something else before it
# was written down; then the next one to try has an answer.
REFUSED_ONCE = Expected(frozenset({"completed", "failed"}), frozenset({"content_filter"}))


class Line(Struct, frozen=True):
    """A row of the file, and how it has to end; `max_tokens` where it limits its answer."""

    custom_id: str
    model: str
    expected: Expected = GOOD
    max_tokens: int | None = None


def mixed(count: int, random: Random) -> list[Line]:
    """Rows of as many models: most are fast, some have a fault that is retried, some fail."""
    return [Line(f"row-{number}", *_kind(number, random)) for number in range(count)]


def _kind(number: int, random: Random) -> tuple[str, Expected]:
    tokens = random.randint(5, 30)
    seconds = random.uniform(0.1, 0.7)
    fast = f"sim?tokens={tokens}&rate={tokens / seconds:.1f}&ttft=0.05&vary=1"
    match number % 50:
        case 3:
            return f"{fast}&fault=status-500&times=1", GOOD
        case 13:
            return f"{fast}&fault=cut-rst&times=1", GOOD
        case 23:
            return "sim?fault=content-policy&times=all", BAD
        case 33:
            # A new job of the same row is a request of the same conversation.
            return f"{fast}&fault=content-policy&times=1&key={number}", REFUSED_ONCE
    return fast, GOOD


class Door:
    """A gateway that is killed as anything else is, and comes back at the same address.

    Attributes:
        client: of the gateway; it does not ask again.
    """

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._port = free_port()
        self._gateway = self._start()
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=30)

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self._gateway.await_print, "listening on ")
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        await self.client.aclose()

    async def kill(self) -> None:
        """SIGKILL; another one takes its place."""
        self._scene.figures.kills += 1
        await asyncio.to_thread(self._gateway.kill)
        self._gateway = self._start()

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        """The answer, however often the gateway dies before it has come."""
        while True:
            try:
                answer = await self.client.request(method, path, **more)
            except httpx.TransportError:
                await asyncio.sleep(AGAIN_S)
                continue
            if answer.status_code != 503:  # the database is away
                return answer
            await asyncio.sleep(AGAIN_S)

    async def create(self, load: Load, lines: Sequence[Line], **fields: object) -> str:
        """Upload the rows and create a batch of them, once; its id."""
        content = ("rows.jsonl", _content(load, lines))
        form: dict[str, Any] = {"files": {"file": content}, "data": {"purpose": "batch"}}
        file = (await self.ask("POST", "/v1/files", **form)).json()["id"]
        given = {"input_file_id": file, "endpoint": CHAT, "mixed_models": True, **fields}
        while True:
            # One that was accepted though nobody heard of it is found by its file.
            batches = (await self.ask("GET", "/v1/batches")).json()["data"]
            if found := [each["id"] for each in batches if each["input_file_id"] == file]:
                return str(found[0])
            with suppress(httpx.TransportError):
                answer = await self.client.post("/v1/batches", json=given)
                assert answer.status_code in {200, 503}, answer.text

    async def lines(self, file: str | None) -> list[dict[str, Any]]:
        """The lines of a file of results; none where there is no file."""
        if file is None:
            return []
        answer = await self.ask("GET", f"/v1/files/{file}/content")
        return [json.loads(line) for line in answer.content.splitlines()]

    def _start(self) -> Process:
        command = ("-m", "worker.cli", "gateway", "--port", str(self._port), "--no-keys")
        return self._scene.stack.start("gateway", *command)


def _content(load: Load, lines: Sequence[Line]) -> bytes:
    return b"".join(json.dumps(_row(load, line)).encode() + b"\n" for line in lines)


def _row(load: Load, line: Line) -> dict[str, object]:
    body = load.body(line.model)
    if line.max_tokens is not None:
        body["max_tokens"] = line.max_tokens
    return {"custom_id": line.custom_id, "method": "POST", "url": CHAT, "body": body}


async def look(load: Load, id: str) -> Batch:
    """The batch's row, as soon as the database says it."""
    while True:
        with suppress(StoreAway, SQLAlchemyError, OSError):
            return await load.reader.store.batches.get(id)
        await asyncio.sleep(LOOK_S)


async def seen(
    load: Load, id: str, wanted: Callable[[Batch], bool], timeout_s: float = 60.0
) -> Batch:
    """The batch once it is as wanted."""
    late = time.monotonic() + timeout_s
    while not wanted(found := await look(load, id)):
        assert time.monotonic() < late, f"{id} is {found.status}: {await _states(load, id)}"
        await asyncio.sleep(LOOK_S)
    return found


async def ended(load: Load, id: str, timeout_s: float = 60.0) -> Batch:
    """The batch when it has ended."""
    return await seen(load, id, lambda batch: BatchStatus(batch.status).terminal, timeout_s)


async def count(load: Load, *where: Any) -> int:
    """How many jobs there are of which that is so."""
    async with load.reader.store.engine.connect() as connection:
        return await connection.scalar(select(func.count()).select_from(Job).where(*where)) or 0


async def _states(load: Load, id: str) -> list[tuple[Any, ...]]:
    columns = Job.state, Job.held, Job.crashes, Job.wakes, Job.error_category
    query = select(*columns, func.count()).where(Job.batch_id == id).group_by(*columns)
    async with load.reader.store.engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(query)]


def wipe(scene: Scene, *, hurried: bool = True) -> None:
    """The channel and the broker forget everything, and nobody is disconnected.

    A wake-up that was lost is sent again after a minute; `hurried` where that has passed by then.
    """
    with scene.injury():
        for server in (scene.channel, scene.broker):
            with redis.Redis.from_url(server.url) as client:
                client.flushall()
    if hurried:
        scene.let_time_pass(60)


async def outcome(
    scene: Scene, door: Door, load: Load, id: str, lines: Sequence[Line], status: str = "completed"
) -> Outcome:
    """What the batch came to; its rows are judged with all other jobs of the load from now on."""
    expected = {line.custom_id: line.expected for line in lines}
    if status == "cancelled":
        any_end = Expected(frozenset({"cancelled", "completed", "failed"}))
        expected = dict.fromkeys(expected, any_end)
    document = (await door.ask("GET", f"/v1/batches/{id}")).json()
    async with load.reader.store.engine.connect() as connection:
        found = await connection.execute(select(Job.id, Job.custom_id).where(Job.batch_id == id))
        for job, custom_id in found:
            load.accepted(job, expected.get(str(custom_id), Expected(frozenset())), readers=0)
    evidence = await load.evidence(scene.shutdowns, sample=SAMPLE)
    return Outcome(
        status=status,
        custom_ids=[line.custom_id for line in lines],
        document=document,
        output=await door.lines(document["output_file_id"]),
        errors=await door.lines(document["error_file_id"]),
        jobs=[job for job in evidence.jobs.values() if job.batch_id == id],
        evidence=evidence,
    )


def closed() -> str:
    """A run window that is not open now, nor soon."""
    hour = (datetime.now(UTC).hour + 6) % 24
    return f"{hour:02}:00-{hour:02}:30 UTC"
