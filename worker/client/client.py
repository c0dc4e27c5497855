"""The client for programs without an event loop. It may be used from several threads."""

import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
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


class Client:
    """Submits, looks up, follows and cancels jobs over HTTP.

    Whatever it asks is safe to ask again, and it does so, for as long as its patience lasts, where
    no answer comes, or 408, 429 or a 5xx. So every method can raise `ConnectionFailed`, and
    `APIError` by what the gateway answered.

    Args:
        base_url: the gateway's; unset: DELTAWORKS_BASE_URL.
        api_key: unset: DELTAWORKS_API_KEY; a gateway on loopback may be open without.
        http: an httpx client to use. It stays open, and its time limits hold. Unset: one of its
            own, which gives an answer 30 s and a connection 10 s.
        patience_s: how long, in seconds, it is tried without any success; 0 is once.
        silence_s: a stream of events that is silent for so long, in seconds, is dead: more than
            the gateway's heartbeat (15 s).

    Raises:
        ValueError: there is no base_url, or it or the key cannot be one.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        http: httpx.Client | None = None,
        patience_s: float = PATIENCE_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._target = Target(base_url, api_key, patience_s, silence_s)
        self._own = http is None
        self._http = http or httpx.Client(limits=LIMITS, timeout=TIMEOUT)

    def __repr__(self) -> str:
        return f"Client({self._target})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections, but not those of an httpx client that was given."""
        if self._own:
            self._http.close()

    def submit(self, request: Mapping[str, Any], **fields: Unpack[JobFields]) -> Job:
        """Queue a chat-completions body as a job.

        Args:
            request: the body; `stream` need not be given, every job is streamed.
            fields: the other fields of a job request: `id`, `idempotency_key`, `lane`,
                `scheduled_at`, `deadline_at`, `metadata`, `webhook`. Without a key of the
                caller's one is made, so that this call makes one job however often it has to be
                sent.

        Returns:
            The job object. Nothing waits for the job to run.

        Raises:
            InvalidRequest: names the field at fault.
            Conflict: the id or idempotency key belongs to another request.
            RateLimited: too many jobs wait, or too many requests have come with this key.
        """
        return self._call(calls.submit(request, fields))

    def submit_many(self, jobs: Iterable[JobRequest]) -> Sequence[Job | APIError]:
        """Queue up to 1,000 job requests in one call.

        Args:
            jobs: each `{"request": {a chat-completions body}}` and the fields of `submit`.

        Returns:
            In the same order the job objects; where a request was refused, the error.
        """
        documents = list(jobs)
        return self._answer(self._target.many(documents)) if documents else []

    def get(self, id: str) -> Job:
        """The job object, with the text so far while it runs.

        Raises:
            NotFound: no job of yours has this id.
        """
        return self._call(calls.get(id))

    def list(
        self,
        *,
        state: str | Sequence[str] | None = None,
        lane: str | None = None,
        metadata: Mapping[str, str] | None = None,
        after: str | None = None,
        page_size: int = 100,
    ) -> Iterator[Job]:
        """All your jobs, newest first; pages are fetched as they are reached.

        Args:
            state: only those in this state, or in one of these.
            lane: only those of this lane.
            metadata: only those that have all these pairs.
            after: only those older than the job with this id.
            page_size: how many one request fetches, from 1 to 100.
        """
        call: Call[Page] | None
        call = calls.listing(calls.filters(state, lane, metadata, after, page_size))
        while call is not None:
            page = self._call(call)
            yield from page.jobs
            call = page.next

    def follow(self, id: str, after: str | None = None) -> Generator[Event, None, None]:
        """The job's events, in order and each once, up to and with its closing event.

        Reconnects by itself, whatever breaks: the connection, the gateway, the way to it. Close
        it, or read it to its end: until then it holds a connection.

        Args:
            id: the job's.
            after: the cursor of an event, or of a job object: only what comes after it. At the
                job's end there is nothing.

        Raises:
            NotFound: no job of yours has this id.
            InvalidCursor: the cursor is malformed, or beyond what the job has published.
            ClientError: patience is over; `cursor` of the error is where to go on.
        """
        following = self._target.following(id, after)
        while (pause_s := following.pause_s()) is not None:
            time.sleep(pause_s)
            try:
                yield from self._heard(following)
            except httpx.RequestError as error:
                following.lost(error)

    def result(self, id: str, *, check: bool = False) -> Job:
        """The job object, once the job has ended.

        Args:
            id: the job's.
            check: raise where the job has no output of its own.

        Raises:
            NotFound: no job of yours has this id.
            JobFailed: it failed or was cancelled, and `check` is true.
        """
        job = self.get(id)
        if job["state"] not in END_STATES:
            with closing(self.follow(id, after=job["cursor"])) as events:
                for _ in events:
                    pass
            job = self.get(id)
        if check:
            require_output(job)
        return job

    def cancel(self, id: str) -> Job:
        """Cancel the job unless it has ended; the job object says which.

        Raises:
            NotFound: no job of yours has this id.
        """
        return self._call(calls.cancel(id))

    def retry(self, id: str, *, idempotency_key: str | None = None) -> Job:
        """A new job with the request of one that has ended; its `retry_of` names that one.

        Raises:
            NotFound: no job of yours has this id.
            Conflict: the job has not ended, or its content has been erased.
        """
        return self._call(calls.retry(id, idempotency_key))

    def erase(self, id: str) -> None:
        """Remove what an ended job was asked and what it said; that it was stays.

        Raises:
            NotFound: no job of yours has this id.
            Conflict: the job has not ended.
        """
        self._call(calls.erase(id))

    def token(self, id: str, *, expires_in_s: float | None = None) -> Token:
        """A token that opens this job's events to a browser, for reading.

        Args:
            id: the job's.
            expires_in_s: its life in seconds, up to a day; unset: the gateway's, 300.

        Raises:
            NotFound: no job of yours has this id.
        """
        return self._call(calls.token(id, expires_in_s))

    def _call(self, call: Call[T]) -> T:
        return self._answer(self._target.exchange(call))

    def _answer(self, exchange: Exchange[T]) -> T:
        while (pause_s := exchange.pause_s()) is not None:
            time.sleep(pause_s)
            try:
                exchange.hear(self._http.request(**self._target.request(exchange.call)))
            except httpx.RequestError as error:
                exchange.lost(error)
        return exchange.result

    def _heard(self, following: Following) -> Iterator[Event]:
        with self._http.stream(**self._target.stream(following, self._http.timeout)) as response:
            if response.status_code != httpx.codes.OK:
                response.read()
            if following.opened(response):
                for data in response.iter_bytes():
                    yield from following.hear(data)
                    if following.over:
                        return
