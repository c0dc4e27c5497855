"""The holder's side of a job in a test: chunks into a transcript, published as a worker would."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from models import Job, JobState
from worker.channel.events import Retrying
from worker.channel.feed import Channel, Feed
from worker.channel.follow import Follower
from worker.channel.hub import Hub
from worker.channel.inquiry import Inquiry
from worker.channel.log import Log
from worker.channel.publisher import Publisher
from worker.channel.replay import end_of
from worker.store import Store
from worker.stream.transcript import Transcript
from worker.stream.wire import Chunk

LIFE_S = 300.0


def fast_failing(url: str) -> Redis:
    """A client like the worker's: it does not try twice by itself."""
    pool = BlockingConnectionPool.from_url(
        url, max_connections=16, timeout=5, protocol=2, socket_timeout=5,
        socket_connect_timeout=5, retry=Retry(NoBackoff(), 0),
    )  # fmt: skip
    return Redis.from_pool(pool)


def chunk(choice: int = 0, finish_reason: str | None = None, **delta: object) -> Chunk:
    """A chunk as an upstream sends it; unknown fields of the choice by `extra`."""
    extra = delta.pop("extra", {})
    assert isinstance(extra, dict)
    one = {"index": choice, "delta": delta, "finish_reason": finish_reason, **extra}
    document = {"id": "c", "object": "chat.completion.chunk", "choices": [one]}
    return msgspec.json.decode(msgspec.json.encode(document), type=Chunk)


def tool_call(index: int, arguments: str = "", name: str | None = None, choice: int = 0) -> Chunk:
    """A chunk with a piece of a tool call; with `name` it opens the call."""
    function: dict[str, object] = {"arguments": arguments}
    call: dict[str, object] = {"index": index, "function": function}
    if name is not None:
        function["name"] = name
        call |= {"id": f"call_{choice}_{index}", "type": "function"}
    return chunk(choice, tool_calls=[call])


class Holder:
    """One attempt at one job: what arrives is published at once."""

    def __init__(
        self, publisher: Publisher, job: str, attempt: int = 1, bulk: bool = False
    ) -> None:
        self.transcript = Transcript()
        self.job, self.attempt = job, attempt
        self.fenced = asyncio.Event()
        channel = Channel(
            job=job, attempt=attempt, bulk=bulk, open_life_s=LIFE_S, closed_life_s=LIFE_S / 2
        )
        self.feed: Feed = publisher.feed(channel, self.transcript, self.fenced.set)

    def start(self) -> None:
        self.feed.start("simulator", "sim")

    def say(self, *texts: str) -> None:
        for text in texts:
            self.take(chunk(content=text))

    def take(self, *chunks: Chunk) -> None:
        for each in chunks:
            self.transcript.apply(each)
        self.feed.grew()

    def retry(self, reason: str = "error") -> None:
        self.feed.close(
            Retrying(id=self.feed.id(self.transcript.length + 1), job=self.job, reason=reason)
        )

    def end(self) -> Job:
        """Publish the end; the row as it would be saved, which is not."""
        row = self.row()
        self.feed.grew()
        self.feed.close(end_of(row, self.transcript.trailing_extra or None))
        return row

    async def settle(self, store: Store) -> Job:
        """Save the end and then publish it; the row as it was saved."""
        assert await store.holds.settle(self.row(), None)
        self.end()
        return await store.jobs.get(self.job)

    def row(self) -> Job:
        """The columns that an end writes."""
        self.transcript.close()
        transcript, parts = self.transcript, self.transcript.parts()
        return Job(
            id=self.job,
            attempt=self.attempt,
            state=JobState.COMPLETED.value,
            model="sim",
            upstream="simulator",
            output_text=transcript.output_text,
            output=transcript.output(),
            parts=parts if any(part[:2] != (0, "text") for part in parts) else None,
            length=transcript.length,
            finish_reason=transcript.finish_reason or "stop",
            unverified=False,
        )


def flow(row: Job) -> str:
    """A saved output's characters in the order published; a tool call's opening is a NUL."""
    taken: dict[tuple[int, str], int] = {}
    whole = ""
    for choice, part, length in row.parts or [(0, "text", row.length)]:
        begin = taken.get((choice, part), 0)
        taken[choice, part] = begin + length
        whole += _part(row, choice, part)[begin : begin + length]
    return whole


def _part(row: Job, choice: int, part: str) -> str:
    message: Any = next(item for item in row.output or [] if item["index"] == choice)
    if part in ("reasoning", "refusal"):
        return str(message[part])
    if part == "text":
        return str(message["content"])
    # These tests' calls bear their index in their id.
    (call,) = (item for item in message["tool_calls"] if item["id"][-1] == part[-1])
    return "\0" + str(call["function"]["arguments"])


class Standing:
    """Answers for the database which attempts stand; counts how often it is asked."""

    def __init__(self) -> None:
        self.lost: set[str] = set()
        self.asked: list[dict[str, int]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, held: Mapping[str, int]) -> set[str]:
        self.asked.append(dict(held))
        await self.answers.wait()
        return set(held) - self.lost


@asynccontextmanager
async def following(redis: Redis, store: Store, silence_s: float = 15.0) -> AsyncIterator[Follower]:
    """A follower, as a process of readers has one."""
    hub = Hub(redis)
    task = asyncio.create_task(hub.run())
    yield Follower(hub, Log(redis), Inquiry(store.jobs.many), silence_s)
    assert not task.done(), task
    task.cancel()
    await asyncio.wait([task])


@asynccontextmanager
async def publishing(
    redis: Redis, standing: Standing | None = None, bulk_flush_s: float = 0.01
) -> AsyncIterator[Publisher]:
    """A publisher that runs."""
    publisher = Publisher(Log(redis), standing or Standing(), bulk_flush_s)
    task = asyncio.create_task(publisher.run())
    yield publisher
    assert not task.done(), task
    task.cancel()
    await asyncio.wait([task])


def rich_chunks(random: random.Random) -> list[Chunk]:
    """The chunks of an answer with up to seven parts in two choices, in any order, all opened."""
    opened: set[tuple[int, int]] = set()
    chunks = [chunk(reasoning_content="hm"), chunk(1, content="1")]
    for _ in range(random.randint(5, 40)):
        choice, text = random.randint(0, 1), random.choice(TEXTS)
        kind = random.choice(["content", "content", "reasoning_content", "refusal", "call"])
        if kind != "call":
            chunks.append(chunk(choice, **{kind: text}))
            continue
        index = random.randint(0, 1)
        name = None if (choice, index) in opened else "look_up"
        opened.add((choice, index))
        chunks.append(tool_call(index, text, name, choice))
    return [*chunks, chunk(0, "stop"), chunk(1, "stop")]


TEXTS = ("a", "word ", "ünï", "👩‍🚀", "\n\n", '{"key": ', "x" * 50, "\u2028", "日本語", '"\\')
