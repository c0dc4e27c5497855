"""One job on one screen: claim, stream, settle.

Knows nothing of Celery, HTTP servers or SQL: it gets a job id and its collaborators.
"""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx
from msgspec import Struct
from tenacity import AsyncRetrying, RetryCallState

from models import Attempt, Job, JobState
from worker import retry
from worker.catalog import Catalog
from worker.channel.events import Retrying
from worker.channel.feed import Channel, Feed
from worker.channel.publisher import Publisher
from worker.channel.replay import end_of
from worker.errors import Category, ConfigurationError, HoldLost, UpstreamError
from worker.leases import Hold, Leases
from worker.settings import Settings
from worker.store import Holds
from worker.stream.transcript import Transcript, Verdict
from worker.text import repair
from worker.upstream import Exchange, Limits, Request

logger = logging.getLogger(__name__)

# Proven ends that are not the model's own.
CUT_SHORT = frozenset({"length", "content_filter"})
# What a column for an upstream's word holds.
WORD = 255


class Ended(Struct, frozen=True):
    """The upstream answered, and the end is proven."""

    verdict: Verdict


class Failed(Struct, frozen=True):
    """No further attempt will be made."""

    error: UpstreamError


class Deferred(Struct, frozen=True):
    """The next attempt is too far off to wait for it here."""

    error: UpstreamError
    wait_s: float


class Deferral(Exception):
    """Carries `Deferred` out of tenacity's loop."""

    def __init__(self, deferred: Deferred) -> None:
        super().__init__()
        self.deferred = deferred


class Run:
    """One hold of a job: the current attempt's exchange and feed, once there are any."""

    def __init__(self, hold: Hold) -> None:
        self.hold = hold
        self.exchange: Exchange | None = None
        self.feed: Feed | None = None

    @property
    def job(self) -> Job:
        """The job; its `attempt` is the current one."""
        return self.hold.job

    async def pause(self, wait_s: float) -> None:
        """Wait between two attempts, unless the hold is lost."""
        with self.hold.interruptible():
            await asyncio.sleep(wait_s)


class Execution:
    """Runs jobs by id. One for each process."""

    def __init__(
        self,
        *,
        leases: Leases,
        holds: Holds,
        publisher: Publisher,
        http: httpx.AsyncClient,
        catalog: Catalog,
        settings: Settings,
    ) -> None:
        self._leases = leases
        self._holds = holds
        self._publisher = publisher
        self._http = http
        self._catalog = catalog
        self._settings = settings

    async def run(self, id: str) -> None:
        """Run the job to its end, or give it back; nothing where it is not to be had."""
        hold = await self._leases.claim(id)
        if hold is None:
            logger.debug("job %s is not to be had", id)
            return
        run = Run(hold)
        try:
            await self._settle(run, await self._outcome(run))
        except HoldLost:
            logger.info("job %s: lost at attempt %d", id, run.job.attempt)
        finally:
            self._leases.release(hold)

    async def _outcome(self, run: Run) -> Ended | Failed | Deferred:
        attempts = AsyncRetrying(
            retry=retry.is_retried,
            stop=retry.is_over,
            wait=retry.wait_s,
            before_sleep=partial(self._next_attempt, run),
            sleep=run.pause,
            reraise=True,
        )
        try:
            return Ended(await attempts(self._attempt, run))
        except Deferral as deferral:
            return deferral.deferred
        except UpstreamError as error:
            return Failed(error)
        except ConfigurationError as error:
            return Failed(UpstreamError(Category.AUTH, "api_key_missing", message=str(error)))
        except HoldLost:
            raise
        except Exception as error:
            logger.exception("job %s: failed by a fault of our own", run.job.id)
            return Failed(UpstreamError(Category.INTERNAL, type(error).__name__))

    async def _attempt(self, run: Run) -> Verdict:
        job = run.job
        upstream = self._catalog.serving(job.model)
        if upstream is None:
            raise UpstreamError(
                Category.NOT_FOUND, "no_upstream", message=f"no upstream serves {job.model!r}"
            )
        request = Request(upstream, job.request, job.id, job.attempt)
        run.exchange = Exchange(self._http, request, self._settings.max_event_bytes)
        run.feed = self._feed(run, run.exchange.transcript)
        run.feed.start(upstream.name, job.model)
        with run.hold.interruptible():
            return await run.exchange.run(self._limits(job), run.feed.grew)

    async def _next_attempt(self, run: Run, state: RetryCallState) -> None:
        """Record the failure and raise the fence, before the wait begins."""
        error, wait_s = retry.failure(state), state.upcoming_sleep
        assert error is not None and run.exchange is not None and run.feed is not None
        if wait_s > retry.LONGEST_HELD_WAIT_S:
            raise Deferral(Deferred(error, wait_s))
        if not await self._holds.next_attempt(_record(run, error), "failures"):
            raise HoldLost
        run.feed.close(_retrying(run, error, wait_s))
        run.job.attempt += 1
        run.job.failures += 1

    async def _settle(self, run: Run, outcome: Ended | Failed | Deferred) -> None:
        job = run.job
        match outcome:
            case Ended(verdict):
                _keep_output(job, run.exchange)
                cut_short = job.finish_reason in CUT_SHORT
                job.state = (JobState.INCOMPLETE if cut_short else JobState.COMPLETED).value
                job.unverified = verdict is Verdict.UNVERIFIED
                await self._end(run, None)
            case Failed(error):
                _keep_output(job, run.exchange)
                job.state = JobState.FAILED.value
                job.error_category, job.error_code = error.category.value, _word(error.code)
                job.error_status, job.error_message = error.status, repair(error.message)
                await self._end(run, error)
            case Deferred(error, wait_s):
                await self._defer(run, error, wait_s)

    async def _end(self, run: Run, error: UpstreamError | None) -> None:
        record = _record(run, error) if run.exchange else None
        if not await self._holds.settle(run.job, record):
            raise HoldLost
        transcript = run.exchange.transcript if run.exchange else Transcript()
        feed = run.feed or self._feed(run, transcript)
        feed.close(end_of(run.job, transcript.trailing_extra or None))
        logger.info("job %s: %s at attempt %d", run.job.id, run.job.state, run.job.attempt)

    async def _defer(self, run: Run, error: UpstreamError, wait_s: float) -> None:
        assert run.feed is not None
        due = datetime.now(UTC) + timedelta(seconds=wait_s)
        if not await self._holds.defer(_record(run, error), "failures", due):
            raise HoldLost
        run.feed.close(_retrying(run, error, wait_s, due))

    def _feed(self, run: Run, transcript: Transcript) -> Feed:
        job, settings = run.job, self._settings
        channel = Channel(
            job=job.id,
            attempt=job.attempt,
            bulk=job.lane == "bulk",
            open_life_s=settings.open_log_life_s,
            closed_life_s=settings.closed_log_life_s(job.lane),
        )
        return self._publisher.feed(channel, transcript, run.hold.lose)

    def _limits(self, job: Job) -> Limits:
        settings = self._settings
        return Limits(
            first_byte_s=settings.first_byte_timeout_s,
            first_token_s=settings.first_token_timeout_s,
            token_gap_s=settings.token_gap_timeout_s,
            attempt_s=settings.attempt_timeout_s,
            end_grace_s=settings.end_grace_s,
            left_s=(job.deadline_at - datetime.now(UTC)).total_seconds(),
        )


def _keep_output(job: Job, exchange: Exchange | None) -> None:
    if exchange is None:
        return
    transcript = exchange.transcript
    parts = transcript.parts()
    job.upstream = exchange.request.upstream.name
    job.upstream_request_id = _word(exchange.request_id)
    job.output_text = transcript.output_text
    job.output = transcript.output()
    job.parts = parts if any(part[:2] != (0, "text") for part in parts) else None
    job.length = transcript.length
    job.finish_reason = _word(transcript.finish_reason)
    job.usage = transcript.usage
    job.first_delta_at = exchange.first_delta_at


def _record(run: Run, error: UpstreamError | None) -> Attempt:
    exchange = run.exchange
    assert exchange is not None and exchange.started_at is not None
    transcript = exchange.transcript
    return Attempt(
        job_id=run.job.id,
        number=run.job.attempt,
        upstream=exchange.request.upstream.name,
        model=_word(transcript.model),
        upstream_request_id=_word(exchange.request_id),
        started_at=exchange.started_at,
        first_delta_at=exchange.first_delta_at,
        finished_at=datetime.now(UTC),
        parts=transcript.parts(),
        length=transcript.length,
        finish_reason=_word(transcript.finish_reason),
        usage=transcript.usage,
        error_category=error.category.value if error else None,
        error_code=_word(error.code) if error else None,
        error_status=error.status if error else None,
        error_message=repair(error.message) if error else None,
    )


def _retrying(
    run: Run, error: UpstreamError, wait_s: float, due: datetime | None = None
) -> Retrying:
    assert run.feed is not None and run.exchange is not None
    return Retrying(
        id=run.feed.id(run.exchange.transcript.length + 1),
        job=run.job.id,
        reason="error",
        code=error.code,
        category=error.category.value,
        wait_s=round(wait_s, 3),
        scheduled_at=due,
    )


def _word(text: str | None) -> str | None:
    return None if text is None else repair(text)[:WORD]
