"""Both clients behind one face, so that a test is written once; and a clock for their core."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

from worker.client import AsyncClient, Client, Event, Job, Transcript


class Clock:
    """Time that passes when a test says so; in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class InThreads:
    """A `Client` with the methods of an `AsyncClient`; what blocks does so in a thread."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        async def call(*args: object, **fields: object) -> Any:
            return await asyncio.to_thread(method, *args, **fields)

        return call

    def follow(self, id: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        return _in_threads(self._client.follow(id, after))

    def list(self, **filters: Any) -> AsyncIterator[Job]:
        return _in_threads(self._client.list(**filters))

    async def aclose(self) -> None:
        self._client.close()


async def _in_threads(items: Any) -> AsyncGenerator[Any, None]:
    with closing(items):
        while (item := await asyncio.to_thread(next, _never_ending(items))) is not None:
            yield item


def _never_ending(items: Iterator[Any]) -> Iterator[Any]:
    """`StopIteration` passes through no future."""
    yield next(items, None)


AnyClient = AsyncClient | InThreads
Connect = Callable[..., AnyClient]
ConnectBoth = Callable[..., list[AnyClient]]


async def heard(
    client: AnyClient, id: str, after: str | None = None
) -> tuple[Transcript, list[Event]]:
    """What a reader of the whole job holds, and the events; none is missing, none comes twice."""
    transcript, events = Transcript(), []
    async with asyncio.timeout(30):
        async for event in client.follow(id, after):
            events.append(event)
            transcript.apply(event)
    check_order(events)
    return transcript, events


def check_order(events: list[Event]) -> None:
    """The ids rise."""
    places = [tuple(map(int, event.id.split("-"))) for event in events]
    assert places == sorted(set(places))
