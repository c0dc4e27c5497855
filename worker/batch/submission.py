"""What a batch's owner can do to it. The row is the truth; workers are told to look."""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

from models import Batch, BatchStatus
from worker.app import Nudge
from worker.batch.limits import PauseReason
from worker.batch.request import BATCH, batch_of, fields_of
from worker.batch.windows import duration_s
from worker.errors import Category, Conflict, FileNotFound, InvalidRequest
from worker.ids import new_id, new_job_id
from worker.request import WebhookTerms, require_allowed, shown
from worker.settings import Settings
from worker.store import Recent, Store

INPUT = "batch"
# Rows that are tried again with one statement.
PORTION = 500
# What failed rows may be tried again for, by name.
CATEGORIES = tuple(category.value for category in Category)


class BatchSubmission:
    """Accepts batches, and what is wished of them later."""

    def __init__(self, store: Store, nudge: Nudge, settings: Settings) -> None:
        self._store = store
        self._nudge = nudge
        self._webhooks = WebhookTerms.of(settings)

    async def create(
        self, document: object, *, tenant: str, allowed_models: Sequence[str] | None = None
    ) -> Batch:
        """Accept a batch; its file is read in later, and what is wrong with it is told then.

        Args:
            document: what the caller sent.
            tenant: whose batch it is.
            allowed_models: patterns of the models that its rows may use; None is any.

        Raises:
            InvalidRequest: names the field at fault; nothing was stored.
            StoreAway: nothing was, or perhaps it was.
        """
        given = fields_of(document)
        id = str(given["input_file_id"])
        try:
            file = await self._store.files.living(id, tenant)
        except FileNotFound:
            problem = f"is {shown(id)}, which is no file"
            raise InvalidRequest("input_file_id", problem, "upload it first") from None
        if file.purpose != INPUT:
            problem = f"is a file of purpose {shown(file.purpose)}"
            raise InvalidRequest("input_file_id", problem, "upload it with purpose batch")
        batch = batch_of(document, file, tenant, self._webhooks)
        batch.allowed_models = None if allowed_models is None else list(allowed_models)
        batch = await self._store.batches.add(batch)
        await self._nudge()
        return batch

    async def cancel(self, batch: Batch) -> Batch:
        """Have what has not ended cancelled.

        Raises:
            Conflict: it has ended, or is about to.
        """
        batch = await self._store.batches.cancel(batch.id)
        if batch.status not in (BatchStatus.CANCELLING, BatchStatus.CANCELLED):
            raise Conflict(f"batch {batch.id}: is {batch.status}; nothing is left to cancel")
        await self._nudge()
        return batch

    async def pause(self, batch: Batch) -> Batch:
        """Release no more of its rows; those that run go on.

        Raises:
            Conflict: it has ended, or is about to.
        """
        await self._store.batches.pause(batch.id, PauseReason.REQUESTED)
        return self._paused_or_not(await self._store.batches.get(batch.id))

    async def resume(
        self, batch: Batch, max_cost: float | None = None, max_failed_ratio: float | None = None
    ) -> Batch:
        """Go on, with other limits where they are given.

        Raises:
            Conflict: it has ended, or is about to.
        """
        resumed = await self._store.batches.resume(batch.id, max_cost, max_failed_ratio)
        await self._nudge()
        return self._paused_or_not(resumed)

    async def retry(
        self,
        batch: Batch,
        categories: Collection[str] | None = None,
        *,
        allowed_models: Sequence[str] | None = None,
    ) -> Batch:
        """Have its failed rows run once more, all or those of some categories.

        Args:
            batch: as it stands.
            categories: of the errors; None is any.
            allowed_models: patterns of the models that whoever asks may use; None is any.

        Returns:
            The batch itself while it runs; else a new one of its failed rows, with `retry_of`.

        Raises:
            InvalidRequest: there is no such category.
            Denied: it runs, and one of these rows is of a model that may not be used. What is
                wrong with a new batch is told later, as with any.
            Conflict: it is neither in progress nor has it ended with rows; or none has failed so.
        """
        for category in categories or ():
            if not isinstance(category, str) or category not in CATEGORIES:
                remedy = f"use {', '.join(CATEGORIES)}"
                raise InvalidRequest("categories", f"holds {shown(category)}", remedy)
        ended = BatchStatus.COMPLETED, BatchStatus.EXPIRED, BatchStatus.CANCELLED
        if batch.status == BatchStatus.IN_PROGRESS:
            await self._retry_running(batch, categories, allowed_models)
        elif batch.status in ended:
            if not await self._store.intake.failed_rows(batch.id, categories, -1, 1):
                raise _nothing_failed(batch)
            batch = await self._store.batches.add(_child(batch, categories, allowed_models))
        else:
            raise Conflict(f"batch {batch.id}: is {batch.status}; wait until it runs, or has ended")
        await self._nudge()
        return batch

    async def recent(self, batch: Batch) -> Recent | None:
        """What its tally does not have yet; None where it has all."""
        ended = BatchStatus(batch.status).terminal or batch.status == BatchStatus.VALIDATING
        return None if ended else await self._store.batches.recent(batch)

    async def _retry_running(
        self,
        batch: Batch,
        categories: Collection[str] | None,
        allowed_models: Sequence[str] | None,
    ) -> None:
        models = None
        if allowed_models is not None:
            models = await self._store.tending.failed_models(batch.id, categories)
            for model in sorted(models):
                require_allowed(model, allowed_models)
        # Each row once: one that fails again meanwhile would be tried for ever.
        last = -1
        while tried := await self._store.tending.try_again(
            batch.id, categories, [new_job_id() for _ in range(PORTION)], last, models
        ):
            last = tried[-1]
        if last < 0:
            raise _nothing_failed(batch)

    def _paused_or_not(self, batch: Batch) -> Batch:
        if batch.status not in (BatchStatus.VALIDATING, BatchStatus.IN_PROGRESS):
            raise Conflict(f"batch {batch.id}: is {batch.status}; nothing of it waits any more")
        return batch


def _nothing_failed(batch: Batch) -> Conflict:
    return Conflict(f"batch {batch.id}: no row has failed so; nothing is left to be retried")


def _child(
    batch: Batch, categories: Collection[str] | None, allowed_models: Sequence[str] | None
) -> Batch:
    """A batch of the failed rows of one that has ended, under the same terms and from now on."""
    now = datetime.now(UTC)
    return Batch(
        id=new_id(BATCH),
        tenant=batch.tenant,
        endpoint=batch.endpoint,
        mixed_models=batch.mixed_models,
        labels=batch.labels,
        input_file_id=batch.input_file_id,
        output_life_s=batch.output_life_s,
        retry_of=batch.id,
        retry_categories=None if categories is None else sorted(categories),
        allowed_models=None if allowed_models is None else list(allowed_models),
        completion_window=batch.completion_window,
        run_window=batch.run_window,
        priority=batch.priority,
        max_cost=batch.max_cost,
        max_failed_ratio=batch.max_failed_ratio,
        webhook_url=batch.webhook_url,
        created_at=now,
        expires_at=now + timedelta(seconds=duration_s(batch.completion_window, "")),
    )
