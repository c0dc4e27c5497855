"""The client for asyncio: as `Client`, with `await` and `async for`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import httpx

from worker.client import calls
from worker.client.calls import Call, Page
from worker.client.errors import APIError, require_output
from worker.client.events import Event
from worker.client.exchange import Exchange
from worker.client.following import Following
from worker.client.jobs import END_STATES, Job, JobFields, JobRequest, Token
from worker.client.target import LIMITS, PATIENCE_S, SILENCE_S, TIMEOUT, Target

T = TypeVar("T")


class AsyncClient:
    """`Client` for asyncio: the same arguments, methods and errors. Belongs to one event loop."""

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        http: httpx.AsyncClient | None = None,
        patience_s: float = PATIENCE_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._target = Target(base_url, api_key, patience_s, silence_s)
        self._own = http is None
        self._http = http or httpx.AsyncClient(limits=LIMITS, timeout=TIMEOUT)

    def __repr__(self) -> str:
        return f"AsyncClient({self._target})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """See `Client.close`."""
        if self._own:
            await self._http.aclose()

    async def submit(self, request: Mapping[str, Any], **fields: Unpack[JobFields]) -> Job:
        """See `Client.submit`."""
        return await self._call(calls.submit(request, fields))

    async def submit_many(self, jobs: Iterable[JobRequest]) -> Sequence[Job | APIError]:
        """See `Client.submit_many`."""
        documents = list(jobs)
        return await self._answer(self._target.many(documents)) if documents else []

    async def get(self, id: str) -> Job:
        """See `Client.get`."""
        return await self._call(calls.get(id))

    async def list(
        self,
        *,
        state: str | Sequence[str] | None = None,
        lane: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        page_size: int = 100,
    ) -> AsyncIterator[Job]:
        """See `Client.list`."""
        call: Call[Page] | None
        call = calls.listing(calls.filters(state, lane, metadata, after, page_size))
        while call is not None:
            page = await self._call(call)
            for job in page.jobs:
                yield job
            call = page.next

    async def follow(self, id: str, after: str | None = None) -> AsyncGenerator[Event, None]:
        """See `Client.follow`. Who leaves before its end closes it by `aclosing`."""
        following = self._target.following(id, after)
        while (pause_s := following.pause_s()) is not None:
            await asyncio.sleep(pause_s)
            try:
                async with aclosing(self._heard(following)) as events:
                    async for event in events:
                        yield event
            except httpx.RequestError as error:
                following.lost(error)

    async def result(self, id: str, *, check: bool = False) -> Job:
        """See `Client.result`."""
        job = await self.get(id)
        if job["state"] not in END_STATES:
            async with aclosing(self.follow(id, after=job["cursor"])) as events:
                async for _ in events:
                    pass
            job = await self.get(id)
        if check:
            require_output(job)
        return job

    async def cancel(self, id: str) -> Job:
        """See `Client.cancel`."""
        return await self._call(calls.cancel(id))

    async def retry(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """See `Client.retry`."""
        return await self._call(calls.retry(id, idempotency_key))

    async def erase(self, id: str) -> None:
        """See `Client.erase`."""
        await self._call(calls.erase(id))

    async def token(self, id: str, *, expires_in_s: float | None = None) -> Token:
        """See `Client.token`."""
        return await self._call(calls.token(id, expires_in_s))

    async def _call(self, call: Call[T]) -> T:
        return await self._answer(self._target.exchange(call))

    async def _answer(self, exchange: Exchange[T]) -> T:
        while (pause_s := exchange.pause_s()) is not None:
            await asyncio.sleep(pause_s)
            try:
                exchange.hear(await self._http.request(**self._target.request(exchange.call)))
            except httpx.RequestError as error:
                exchange.lost(error)
        return exchange.result

    async def _heard(self, following: Following) -> AsyncGenerator[Event, None]:
        request = self._target.stream(following, self._http.timeout)
        async with self._http.stream(**request) as response:
            if response.status_code != httpx.codes.OK:
                await response.aread()
            if following.opened(response):
                async for data in response.aiter_bytes():
                    for event in following.hear(data):
                        yield event
                    if following.over:
                        return
