"""One exchange with an upstream: a streaming request, and its answer into a transcript.

Nothing stands between the socket and the transcript: what one network read brings is decoded and
applied in the call that read it, and publishing is told by a synchronous call. So what arrived is
decoded before any verdict, and a delta wakes no task.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from worker.catalog import Upstream
from worker.classify import classify_exception, classify_response
from worker.errors import Category, UpstreamError
from worker.stream.body import BodyDecoder
from worker.stream.chunks import DONE, Origin, decode
from worker.stream.sse import Event
from worker.stream.transcript import Transcript, Verdict
from worker.transport import Answer, Body
from worker.upstream.client import Client
from worker.upstream.patience import Limits, Patience

# How much of an error body is read, and for how long: it is only for its message.
MOST_ERROR_BYTES = 65_536
ERROR_BODY_S = 5.0
# How long the rest of a body may take after `[DONE]`: read to its end, the connection serves the
# next request.
DRAIN_S = 0.1

# Compression delays small events and hides a truncated body.
HEADERS = {
    "content-type": "application/json",
    "accept": "text/event-stream",
    "accept-encoding": "identity",
}


class Answered(Protocol):
    """Told when a response begins."""

    def __call__(self, headers: Mapping[str, str], *, clean: bool) -> None:
        """Take in its headers; `clean` where it is no refusal."""


class Request(msgspec.Struct, frozen=True):
    """What to send where. `job` and `attempt` travel as headers, for the upstream's own logs, and
    those that `trace` gives.
    """

    upstream: Upstream
    body: Mapping[str, object]
    job: str
    attempt: int
    trace: Callable[[], Mapping[str, str]] = dict

    def content(self) -> bytes:
        """The body as it is sent: usage is asked for where the upstream understands that."""
        body = dict(self.body)
        if self.upstream.include_usage and "stream_options" not in body:
            body["stream_options"] = {"include_usage": True}
        return msgspec.json.encode(body)

    @property
    def choices(self) -> int:
        """How many choices are asked for. Ollama, Groq and others answer with one all the same."""
        asked = self.body.get("n")
        return asked if isinstance(asked, int) else 1

    def own_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that no other request has."""
        traced = [(name.encode(), value.encode()) for name, value in self.trace().items()]
        return [
            (b"x-deltaworks-job", self.job.encode()),
            (b"x-deltaworks-attempt", b"%d" % self.attempt),
            *traced,
        ]


class Exchange:
    """Sends one request and reads its stream. Used once.

    Attributes:
        transcript: what has come so far.
        request_id: the upstream's id for the request, once its headers have come.
        begun: whether the answer began as a stream: HTTP 200, and no refusal in the place of its
            first words.
        started_at, first_delta_at: moments of the request and of the first character.
    """

    def __init__(
        self,
        client: Client,
        request: Request,
        max_event_bytes: int,
        answered: Answered,
    ) -> None:
        self.transcript = Transcript()
        self.request = request
        self.request_id: str | None = None
        self.begun = False
        self.started_at: datetime | None = None
        self.first_delta_at: datetime | None = None
        self._client = client
        self._body = BodyDecoder(max_event_bytes)
        self._origin = Origin(host=_host(request.upstream.base_url))
        self._tell_answered = answered
        self._answered = False
        self._choices = request.choices
        self._ends = 0  # finish reasons for which the grace has begun

    async def run(self, limits: Limits, grew: Callable[[], None]) -> Verdict:
        """Run the exchange to its proven end.

        Args:
            limits: how long its phases may take.
            grew: called after each network read that added characters to the transcript.

        Returns:
            COMPLETE, or UNVERIFIED where only `[DONE]` speaks for the end.

        Raises:
            UpstreamError: everything else. The transcript keeps what came.
        """
        self.started_at = datetime.now(UTC)
        try:
            verdict = await self._proven_end(limits, grew)
        except UpstreamError as error:
            error.request_id = error.request_id or self.request_id
            raise
        finally:
            self.transcript.close()
            # Also what came with the end of the body, or with an error in one read, is a beginning.
            if self.transcript.length:
                self.first_delta_at = self.first_delta_at or datetime.now(UTC)
            grew()
        if verdict is Verdict.TRUNCATED:
            raise self._error(Category.TRUNCATED, "stream_truncated", "the stream just stopped")
        return verdict

    async def _proven_end(self, limits: Limits, grew: Callable[[], None]) -> Verdict:
        patience = Patience(limits)
        try:
            async with patience:
                return self.transcript.verdict(await self._send(patience, grew))
        except TimeoutError:
            failure = patience.error()
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = classify_exception(error, streaming=self._answered)
        # What arrived is decoded before the verdict: an error in it wins over how the stream ended,
        # and over a finish reason before it. A JSON document that is whole is no pending event: its
        # last brace is in it, and nothing that was cut off could have changed what it says.
        with self._first_words():
            self._apply(self._body.flush(broken=True))
        # Where all choices had ended, how the connection ends says nothing any more.
        if not self.transcript.proven:
            raise failure
        return self.transcript.verdict(done=False)

    async def _send(self, patience: Patience, grew: Callable[[], None]) -> bool:
        request = self.request
        upstream = request.upstream
        answer = await self._client.ask(
            f"{upstream.base_url}/chat/completions",
            upstream.api_key(),
            HEADERS,
            request.own_headers(),
            request.content(),
        )
        try:
            status, headers = answer.head.status, answer.head.named()
            self._answered = True
            self.request_id = headers.get("x-request-id")
            patience.headers()
            self._tell_answered(headers, clean=status == 200)
            if status != 200:
                raise await self._refusal(answer, headers)
            self._origin = msgspec.structs.replace(self._origin, headers=headers)
            self.begun = True
            with self._first_words():
                return await self._read(answer, headers, patience, grew)
        finally:
            await answer.body.aclose()

    @contextmanager
    def _first_words(self) -> Iterator[None]:
        """An error of the answer's own is a refusal where it comes before any character."""
        try:
            yield
        except UpstreamError:  # its own: what fails on the way is another kind
            self.begun = self.transcript.length > 0
            raise

    async def _read(
        self,
        answer: Answer,
        headers: Mapping[str, str],
        patience: Patience,
        grew: Callable[[], None],
    ) -> bool:
        take = partial(self._take, patience, grew)
        if headers.get("content-encoding", "identity") == "identity":
            if await answer.body.push(take):
                await _drain(answer.body)
                return True
        else:  # in spite of what was asked for
            async for data in answer.response().aiter_bytes():
                if take(data):
                    return True
        return self._apply(self._body.flush())

    def _take(self, patience: Patience, grew: Callable[[], None], data: bytes) -> bool:
        """Take in what one network read brought; True at `[DONE]`."""
        transcript = self.transcript
        before = transcript.length
        done = self._apply(self._body.feed(data))
        if transcript.length != before:
            self.first_delta_at = self.first_delta_at or datetime.now(UTC)
            patience.token()
            grew()
        if transcript.finished:
            self._look_for_end(patience)
        return done

    def _look_for_end(self, patience: Patience) -> None:
        """The verdict falls some time after the last finish reason: each begins that time anew.

        The last is that of the last choice asked for: until then choices may come one after the
        other, each with its pause. The verdict itself is on those that were seen, as not every
        upstream gives as many as it is asked for.
        """
        transcript = self.transcript
        if not transcript.proven:
            patience.doubt()
        elif transcript.finished > self._ends and transcript.finished >= self._choices:
            self._ends = transcript.finished
            patience.proof()

    def _apply(self, events: list[Event]) -> bool:
        """Take the events into the transcript; True at `[DONE]`."""
        for event in events:
            chunk = decode(event, self._origin)
            if chunk is DONE:
                return True
            if chunk is not None:
                self.transcript.apply(chunk)
        return False

    async def _refusal(self, answer: Answer, headers: Mapping[str, str]) -> UpstreamError:
        body = bytearray()
        try:
            async with asyncio.timeout(ERROR_BODY_S):
                async for data in answer.response().aiter_bytes():
                    body += data
                    if len(body) >= MOST_ERROR_BYTES:
                        break
        except (TimeoutError, httpx.HTTPError):
            pass  # the status alone decides, then
        return classify_response(answer.head.status, headers, bytes(body), host=self._origin.host)

    def _error(self, category: Category, code: str, message: str) -> UpstreamError:
        return UpstreamError(category, code, 200, message, request_id=self.request_id)


@lru_cache(maxsize=256)
def _host(base_url: str) -> str:
    return urlsplit(base_url).hostname or ""


async def _drain(body: Body) -> None:
    with suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(DRAIN_S):
            await body.push(lambda _: False)
