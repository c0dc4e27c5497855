"""Accepting a request: validate, insert, wake a worker. The row is the truth."""

import logging
import time
from contextlib import suppress

from msgspec.structs import replace

from models import Job, JobState, Lane
from worker.app import Nudge, Wake
from worker.catalog import Catalog
from worker.channel.announce import announce_end
from worker.channel.log import Log
from worker.errors import Category, Conflict, InvalidRequest, StoreAway, Throttled
from worker.ids import new_job_id
from worker.request import (
    ID_PATTERN,
    JobRequest,
    WebhookTerms,
    as_response,
    rejected,
    validate,
)
from worker.seldom import Seldom
from worker.settings import Settings
from worker.store import Jobs
from worker.tracing import submitting
from worker.transitions import Step, tell

logger = logging.getLogger(__name__)

TENANT = "default"
# How ids of jobs begin.
# When to come again where the queue is full.
QUEUE_FULL_S = 5.0
# Counting who waits costs a look at each.
COUNT_AGAIN_S = 2.0
# How often a worker is told that bulk jobs wait: as often as it looks.
DISPATCH_S = 0.2


class Submission:
    """Accepts requests from every way in.

    `wake` sends a job's wake-up; `dispatch` has a worker release bulk jobs as slots are free.
    """

    def __init__(
        self,
        jobs: Jobs,
        log: Log,
        wake: Wake,
        dispatch: Nudge,
        catalog: Catalog,
        settings: Settings,
    ) -> None:
        self._jobs = jobs
        self._log = log
        self._wake = wake
        self._dispatch = Seldom(dispatch, DISPATCH_S)
        self._catalog = catalog
        self._settings = settings
        self._webhooks = WebhookTerms.of(settings)
        # By tenant and lane: how many jobs wait, counted when, and added to since.
        self._waiting: dict[tuple[str, str], tuple[float, int]] = {}

    async def submit(
        self,
        document: object,
        *,
        tenant: str = TENANT,
        retry_of: str | None = None,
        response_fields: dict[str, object] | None = None,
    ) -> Job:
        """Accept a job request: a new job, or the one that its id or idempotency key names.

        Args:
            document: the job request (see `worker.request`).
            tenant: whose job it is.
            retry_of: the job whose request this is once more.
            response_fields: what a response repeats of its request, where the job is to be one.

        Raises:
            InvalidRequest: names the field at fault. Nothing was stored.
            Conflict: the id or key belongs to another request.
            Throttled: as many of the tenant's jobs wait in the lane as may.
            StoreAway: nothing was stored, or, where it is `unsure`, perhaps the job was: the same
                id or idempotency key finds it.
        """
        request = replace(self.validate(document), retry_of=retry_of)
        if response_fields is not None:
            request = as_response(request, response_fields)
        await self._check_queue(tenant, request.lane)
        return await self._accept(request, request.id or new_job_id(), tenant)

    def validate(self, document: object) -> JobRequest:
        """The job request that the document holds, by this process's settings.

        Raises:
            InvalidRequest: names the field at fault.
        """
        most_bytes = self._settings.max_request_bytes
        return validate(document, self._catalog, most_bytes, self._webhooks)

    async def submit_message(self, document: object, task_id: str) -> Job | None:
        """Accept a job request that came as a message: its sender is not there for an answer.

        The job's id is the request's own or else the message's, and also its idempotency key.
        An invalid request becomes a failed job under that id, so that the sender learns why.

        Returns:
            The job; None where the message names no usable id, or one of another request:
            then the first wins.
        """
        id = document.get("id", task_id) if isinstance(document, dict) else task_id
        if not isinstance(id, str) or not ID_PATTERN.fullmatch(id):
            logger.error("a message to %s was dropped: its id is no job id", "deltaworks.submit")
            return None
        try:
            request = self.validate(document)
        except InvalidRequest as error:
            return await self._reject(id, document, error)
        try:
            return await self._accept(request, id, TENANT)
        except Conflict:
            logger.warning("job %s: another request came under its id; the first wins", id)
            return None

    async def _check_queue(self, tenant: str, lane: str) -> None:
        most, now = self._settings.max_queued, time.monotonic()
        counted_at, waiting = self._waiting.get((tenant, lane), (0.0, 0))
        if now >= counted_at + COUNT_AGAIN_S:
            counted_at, waiting = now, await self._jobs.waiting(tenant, lane, most)
        self._waiting[tenant, lane] = counted_at, waiting + 1
        if waiting >= most:
            raise Throttled(
                f"{most:,} {lane} jobs wait already; wait until some have run, or raise "
                "DELTAWORKS_MAX_QUEUED",
                QUEUE_FULL_S,
            )

    async def _accept(self, request: JobRequest, id: str, tenant: str) -> Job:
        lane_s = self._settings.deadline_s(request.lane)
        # Bulk jobs wait for slots in the database, not in the broker.
        held = request.lane is Lane.BULK and request.scheduled_at is None
        with submitting(id, request.lane.value, request.model) as context:
            request = replace(request, trace_context=context)
            job, is_new = await self._jobs.insert(
                request, id=id, tenant=tenant, deadline_s=lane_s, held=held
            )
        if is_new:
            tell(Step.SUBMITTED, job)
        if not is_new or request.scheduled_at is not None:
            return job
        if held:
            await self._dispatch()
        elif not await self._wake(job.id, job.lane):
            with suppress(StoreAway):  # it is stored, and its second wake-up is a minute away
                await self._jobs.wake_soon(job.id)
        return job

    async def _reject(self, id: str, document: object, error: InvalidRequest) -> Job | None:
        request = rejected(document, self._webhooks)
        ended = {
            "state": JobState.FAILED.value,
            "attempt": 1,
            "error_category": Category.BAD_REQUEST.value,
            "error_code": "invalid_request",
            "error_message": str(error),
        }
        try:
            job, is_new = await self._jobs.insert(
                request, id=id, tenant=TENANT, deadline_s=0, ended=ended
            )
        except Conflict:
            logger.warning("job %s: an invalid request came under its id; the first wins", id)
            return None
        if is_new:
            tell(Step.SUBMITTED, job)
            tell(Step.SETTLED, job)
            await announce_end(self._log, job, self._settings.closed_log_life_s(job.lane))
        return job
