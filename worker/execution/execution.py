"""One job on one screen: claim, admit, stream, settle.

Knows nothing of Celery, HTTP servers or SQL: it gets a job id and its collaborators.
"""

import asyncio
import logging
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

from tenacity import AsyncRetrying, RetryCallState

from models import Attempt, Job, JobState
from worker.catalog import ANY_MODEL, Upstream
from worker.channel.events import Retrying
from worker.channel.feed import Channel, Feed
from worker.channel.publisher import Publisher
from worker.channel.replay import end_of
from worker.errors import Category, HoldLost, HoldOver, UpstreamError
from worker.execution.admission import failure_of, permit_for, scope_of, used_tokens
from worker.execution.outcome import Deferral, Deferred, Drained, Ended, Failed, Outcome
from worker.execution.records import (
    drained_record_of,
    keep_error,
    keep_output,
    record_of,
    retrying,
)
from worker.execution.run import Run
from worker.execution.settling import Settling
from worker.leases import Hold, Leases
from worker.limiter import Limiter, Permit
from worker.policy import Policy, Retry, Suspend
from worker.policy.retrying import failure
from worker.routing import Router
from worker.settings import Settings
from worker.stream.transcript import Transcript, Verdict
from worker.tracing import propagated
from worker.transitions import Step, tell
from worker.tries import tried
from worker.upstream import Client, Exchange, Limits, Request

logger = logging.getLogger(__name__)

# A longer wait gives the slot back and goes on in the database.
LONGEST_HELD_WAIT_S = 30.0
# What a job may wait while half the slots are waiting, for whatever else: long enough for questions
# that are under way and for slots that are near, else others' long waits would send it away.
SHORT_HELD_WAIT_S = {"interactive": 1.0, "bulk": 0.25}
# Where the fleet's retry budget is spent, a retry comes this much later, and half as much again.
BUDGET_PAUSE_S = 30.0
# Proven ends that are not the model's own.
CUT_SHORT = frozenset({"length", "content_filter"})


class Execution:
    """Runs jobs by id. One for each process."""

    def __init__(
        self,
        *,
        leases: Leases,
        settling: Settling,
        publisher: Publisher,
        http: Client,
        router: Router,
        limiter: Limiter,
        policy: Policy,
        settings: Settings,
    ) -> None:
        self._leases = leases
        self._settling = settling
        self._publisher = publisher
        self._http = http
        self._router = router
        self._limiter = limiter
        self._policy = policy
        self._settings = settings
        self._sleeping = 0

    async def run(self, id: str, *, patient: bool = False) -> bool:
        """Run the job to its end, or give it back; nothing where it is not to be had.

        Args:
            id: the job.
            patient: whether it may begin a moment later, with others.

        Returns:
            Whether another process is to run it, because this one ends.
        """
        hold = await self._leases.claim(id, patient=patient)
        if hold is None:
            logger.debug("job %s is not to be had", id)
            return self._leases.draining
        run = Run(hold, self._router.course(hold.job.model), self._policy)
        tell(Step.CLAIMED, run.job)
        outcome: Outcome | None = None
        try:
            outcome = await self._outcome(run)
            await self._settle(run, outcome)
        except HoldLost:
            tell(Step.LOST, run.job, run.exchange)
        finally:
            self._leases.release(hold)
        return isinstance(outcome, Drained)

    async def _outcome(self, run: Run) -> Outcome:
        try:
            return Ended(await tried(partial(self._attempts, run), partial(self._attempt, run)))
        except Deferral as deferral:
            return deferral.deferred
        except UpstreamError as error:
            return await self._given_up(run, error)
        except (HoldOver, asyncio.CancelledError):  # by the pool, which was told to terminate it
            return Drained()
        except HoldLost:
            raise
        except Exception as error:
            logger.exception("job %s: failed by a fault of our own", run.job.id)
            return Failed(UpstreamError(Category.INTERNAL, type(error).__name__))

    def _attempts(self, run: Run) -> AsyncRetrying:
        return AsyncRetrying(
            retry=run.is_retried,
            stop=run.is_over,
            wait=run.wait_s,
            before_sleep=partial(self._next_attempt, run),
            sleep=partial(self._pause, run.hold),
            reraise=True,
        )

    async def _given_up(self, run: Run, error: UpstreamError) -> Failed | Deferred:
        """No further attempt here: on a suspension bulk waits, which costs it nothing.

        A row waits with its batch, though the suspension may last longer than that: somebody may
        end it, and else the row expires with the others and was not burned.
        """
        decision = run.retries.decision
        if not isinstance(decision, Suspend):
            return Failed(error)
        wait_s = await self._suspend(run, error, decision)
        if run.job.batch_id is not None:
            await self._settling.pause(run.job.batch_id, error, wait_s)
            return Deferred(wait_s, error, with_batch=True)
        if run.job.lane == "bulk" and wait_s < run.left_s():
            return Deferred(wait_s, error)
        return Failed(error)

    async def _attempt(self, run: Run) -> Verdict:
        job = run.job
        upstream = run.upstream = await run.course.upstream()
        permit = permit_for(job, upstream)
        try:
            await self._admit(run, permit)
            verdict = await self._stream(run, upstream, permit)
        except UpstreamError as error:
            used = used_tokens(run.exchange.transcript.usage) if run.exchange else None
            lesson = failure_of(self._policy, error)
            await self._limiter.release(permit, used_tokens=used, failure=lesson)
            raise
        except BaseException:
            await self._limiter.release(permit)
            raise
        assert run.exchange is not None
        used = used_tokens(run.exchange.transcript.usage)
        await self._limiter.release(permit, used_tokens=used, clean=True)
        return verdict

    async def _admit(self, run: Run, permit: Permit) -> None:
        patience_s = min(self._patience_s(run.job), max(run.left_s(), 0.0))
        with run.hold.interruptible(waiting=True), self._asleep(run.job):
            refused = await self._limiter.admit(permit, patience_s)
        if refused is not None:
            raise Deferral(Deferred(max(refused.wait_s, self._settings.sweep_s)))

    async def _stream(self, run: Run, upstream: Upstream, permit: Permit) -> Verdict:
        job = run.job
        request = Request(upstream, job.request, job.id, job.attempt, partial(propagated, job))
        answered = partial(self._limiter.answered, permit)
        exchange = Exchange(self._http, request, self._settings.max_event_bytes, answered)
        run.feed = self._feed(run, exchange.transcript)
        run.feed.start(upstream.name, job.model)
        run.exchange = exchange
        tell(Step.STARTED, job, exchange)
        with run.hold.interruptible():
            return await exchange.run(self._limits(run), run.feed.grew)

    async def _next_attempt(self, run: Run, state: RetryCallState) -> None:
        """Record the failure and raise the fence, before the wait begins."""
        error, decision, wait_s = failure(state), run.retries.decision, state.upcoming_sleep
        assert error is not None
        if isinstance(decision, Suspend):
            await self._suspend(run, error, decision)
        charge = decision.budget if isinstance(decision, Retry) else None
        if isinstance(decision, Retry) and not await self._may_retry(run, decision):
            wait_s = max(wait_s, BUDGET_PAUSE_S) * random.uniform(1, 1.5)  # noqa: S311  no secret
            raise Deferral(Deferred(wait_s, error, charge))
        job = run.job
        if wait_s > self._patience_s(job):
            raise Deferral(Deferred(wait_s, error, charge))
        record, spent = record_of(run, error), run.spent()
        await self._settling.next_attempt(run.hold, charge, record, spent)
        feed = run.feed or self._feed(run, Transcript())
        feed.close(retrying(run, error, wait_s))
        tell(Step.RETRYING, job, run.exchange, error, wait_s, record=record, spent=spent)
        job.attempt += 1
        if charge is not None:
            setattr(job, charge, getattr(job, charge) + 1)
        run.begin()

    async def _may_retry(self, run: Run, decision: Retry) -> bool:
        """Take the retry's cost from the fleet's budget."""
        if run.upstream is None or decision.row.budget_cost == 0:
            return True
        scope = scope_of(run.upstream, run.job.model)
        return await self._limiter.spend_retry(scope, decision.row.budget_cost)

    async def _suspend(self, run: Run, error: UpstreamError, decision: Suspend) -> float:
        """Suspend what the decision says; how long it lasts, in seconds."""
        if decision.for_s is None or run.upstream is None:
            return error.retry_after_s or self._settings.sweep_s
        model = ANY_MODEL if decision.scope == "key" else run.job.model
        await self._router.suspend(run.upstream, model, error, decision.for_s)
        return decision.for_s

    async def _settle(self, run: Run, outcome: Outcome) -> None:
        job = run.job
        match outcome:
            case Ended(verdict):
                keep_output(job, run.exchange)
                cut_short = job.finish_reason in CUT_SHORT
                job.state = (JobState.INCOMPLETE if cut_short else JobState.COMPLETED).value
                job.unverified = verdict is Verdict.UNVERIFIED
                await self._end(run, None)
            case Failed(error):
                keep_output(job, run.exchange)
                keep_error(job, error)
                job.state = JobState.FAILED.value
                await self._end(run, error)
            case Deferred():
                await self._defer(run, outcome)
            case Drained():
                event = retrying(run, None, 0.0, reason="drained")
                await self._give_back(run, None, None, drained_record_of(run), event)

    async def _end(self, run: Run, error: UpstreamError | None) -> None:
        record, spent = record_of(run, error), run.spent()
        told = partial(tell, job=run.job, exchange=run.exchange, error=error)
        told(Step.SETTLING)
        if not await self._settling.settle(run.hold, record, spent):
            told(Step.SPOOLED, record=record, spent=spent)
            return  # it waits in the spool, and is announced from there
        transcript = run.exchange.transcript if run.exchange else Transcript()
        feed = run.feed or self._feed(run, transcript)
        feed.close(end_of(run.job, transcript.trailing_extra or None))
        told(Step.SETTLED, record=record, spent=spent)

    async def _defer(self, run: Run, deferred: Deferred) -> None:
        error = deferred.error
        due = datetime.now(UTC) + timedelta(seconds=deferred.wait_s)
        # What the event says is what every database can keep.
        due = due.replace(microsecond=due.microsecond // 1000 * 1000)
        event = retrying(run, error, deferred.wait_s, due)
        # A row that waits longer than a slot is kept for leaves it to others.
        long = deferred.wait_s > LONGEST_HELD_WAIT_S
        held = run.job.batch_id is not None and (long or deferred.with_batch)
        await self._give_back(
            run, None if deferred.with_batch else due, deferred.charge, record_of(run, error),
            event, error, held=held,
        )  # fmt: skip

    async def _give_back(
        self,
        run: Run,
        due: datetime | None,
        charge: str | None,
        record: Attempt | None,
        event: Retrying,
        error: UpstreamError | None = None,
        *,
        held: bool = False,
    ) -> None:
        spent = run.spent()
        await self._settling.defer(run.hold, due, charge, record, spent, held=held)
        feed = run.feed or self._feed(run, Transcript())
        feed.close(event)
        reason = None if error else event.reason
        tell(
            Step.GIVEN_BACK, run.job, run.exchange, error, event.wait_s, reason,
            record=record, spent=spent,
        )  # fmt: skip

    async def _pause(self, hold: Hold, wait_s: float) -> None:
        with hold.interruptible(waiting=True), self._asleep(hold.job):
            await asyncio.sleep(wait_s)

    @contextmanager
    def _asleep(self, job: Job) -> Iterator[None]:
        counts = job.batch_id is None
        self._sleeping += counts
        try:
            yield
        finally:
            self._sleeping -= counts

    def _patience_s(self, job: Job) -> float:
        """How long the job may wait in its slot: hardly at all once half the slots are waiting.

        Rows of batches wait: they have their part of the slots (see `batch.dispatch`), and given
        back they would keep it all the same.
        """
        enough = self._sleeping < self._settings.streams / 2 or job.batch_id is not None
        return LONGEST_HELD_WAIT_S if enough else SHORT_HELD_WAIT_S[job.lane]

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

    def _limits(self, run: Run) -> Limits:
        settings = self._settings
        return Limits(
            first_byte_s=settings.first_byte_timeout_s,
            first_token_s=settings.first_token_timeout_s,
            token_gap_s=settings.token_gap_timeout_s,
            attempt_s=settings.attempt_timeout_s,
            end_grace_s=settings.end_grace_s,
            left_s=run.left_s(),
        )
