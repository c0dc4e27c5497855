"""Reading a batch in: its file becomes rows, held until the whole of it is known to be valid.

The file is read once: rows are inserted as they come, and are removed again should a fault be
found. Whoever goes on after a crash reads from the beginning and passes over what is there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import timedelta

import msgspec

from models import Batch, Job
from worker.batch.lines import MOST_FAULTS, Fault, Lines, documents
from worker.batch.models import Faulty, Models
from worker.catalog import Catalog
from worker.errors import FileNotFound
from worker.files import Storage, in_thread
from worker.ids import new_job_id
from worker.settings import Settings
from worker.store import Intake, Row, Tally
from worker.text import repair

logger = logging.getLogger(__name__)

# Rows that are copied, or removed, at a time.
PORTION = 1_000


class Reading:
    """Reads batches in, one at a time."""

    def __init__(
        self, intake: Intake, storage: Storage, catalog: Catalog, settings: Settings
    ) -> None:
        self._intake = intake
        self._storage = storage
        self._catalog = catalog
        self._settings = settings

    async def run(self, batch: Batch) -> None:
        """Read the batch in, and have it begin, or fail; nothing where its lease is lost.

        Raises:
            StoreAway, StorageAway: the same again goes on from there.
        """
        try:
            faults = await (self._copy(batch) if batch.retry_of else self._read(batch))
        except FileNotFound:
            message = f"the file {batch.input_file_id} is gone; upload it again"
            faults = [Fault("file_not_found", message, param="input_file_id")]
        if faults:
            await self._reject(batch, faults)

    async def _read(self, batch: Batch) -> Sequence[Fault]:
        """Insert the file's rows; what is wrong with it, if anything."""
        context = self._storage.reading(batch.input_file_id)
        file = await in_thread(context.__enter__)
        try:
            lines = Lines(
                file,
                batch,
                self._catalog,
                max_bytes=self._settings.max_request_bytes,
                max_rows=self._settings.max_batch_rows,
            )
            async with aclosing(_ahead(lines)) as portions:
                async for rows in portions:
                    if rows and not lines.faults and not await self._insert(batch, rows):
                        return []
        finally:
            await in_thread(context.__exit__, None, None, None)
        if not lines.faults:
            await self._begin(batch, lines.total, lines.model, lines.reserve)
        return lines.faults

    async def _copy(self, batch: Batch) -> Sequence[Fault]:
        """Insert the failed rows of an ended batch once more."""
        assert batch.retry_of is not None
        models, faults = Models(batch, self._catalog), list[Fault]()
        last, total = -1, 0
        # Those that are there already, from before a crash, are the parent's failed ones no more:
        # this batch has them.
        while there := await self._intake.rows(batch.id, last, PORTION):
            faults += _faults(models, there)
            last, total = there[-1].batch_row or 0, total + len(there)
        while len(faults) < MOST_FAULTS and (
            failed := await self._intake.failed_rows(
                batch.retry_of, batch.retry_categories, last, PORTION
            )
        ):
            faults += _faults(models, failed)
            if not faults and not await self._insert(batch, [_again(job) for job in failed]):
                return []
            last, total = failed[-1].batch_row or 0, total + len(failed)
        if not total:
            return [Fault("empty_file", f"no failed row of {batch.retry_of} is left to be run")]
        if not faults:
            await self._begin(batch, total, models.model, models.reserve)
        return faults[:MOST_FAULTS]

    async def _insert(self, batch: Batch, rows: Sequence[Row]) -> bool:
        # Rows that run when the batch expires have the grace of a drain.
        deadline = batch.expires_at + timedelta(seconds=self._settings.grace_s)
        inserted = await self._intake.insert(batch, rows, deadline, self._settings.lease_s)
        if not inserted:
            logger.info("batch %s: is read in by another process, or was cancelled", batch.id)
        return inserted

    async def _begin(self, batch: Batch, total: int, model: str | None, reserve: float) -> None:
        tally = Tally(reserve=reserve)
        if await self._intake.begin(batch, total, model, tally.document()):
            logger.info("batch %s: in progress, %d rows", batch.id, total)

    async def _reject(self, batch: Batch, faults: Sequence[Fault]) -> None:
        while await self._intake.drop(batch, PORTION, self._settings.lease_s):
            pass
        if await self._intake.reject(batch, documents(faults)):
            first = faults[0]
            logger.warning(
                "batch %s: failed, %d faults, the first in line %s: %s",
                batch.id, len(faults), first.line, first.code,
            )  # fmt: skip


async def _ahead(lines: Lines) -> AsyncGenerator[list[Row], None]:
    """The portions; the next is read while one is inserted."""
    reading = asyncio.ensure_future(in_thread(lines.portion))
    try:
        while True:
            rows, over = await asyncio.shield(reading), lines.over
            if not over:
                reading = asyncio.ensure_future(in_thread(lines.portion))
            yield rows
            if over:
                return
    finally:
        await asyncio.wait([reading])  # the file is closed after this


def _faults(models: Models, jobs: Sequence[Job]) -> list[Fault]:
    """What is wrong with rows that are to be run again, by their line in the first batch's file."""
    found = []
    for job in jobs:
        try:
            models.check(job.model, job.request)
        except Faulty as fault:
            line = (job.batch_row or 0) + 1
            found.append(Fault(fault.code, repair(fault.message), line, fault.param))
    return found


def _again(job: Job) -> Row:
    fields, labels = job.response_fields, job.labels
    return Row(
        id=new_job_id(),
        number=job.batch_row or 0,
        custom_id=job.custom_id or "",
        model=job.model,
        request=msgspec.json.encode(job.request).decode(),
        response_fields=None if fields is None else msgspec.json.encode(fields).decode(),
        labels=None if labels is None else msgspec.json.encode(labels).decode(),
    )
