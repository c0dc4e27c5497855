"""Writing what a batch came to: its files of results, and its end."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

from models import Batch, BatchStatus, File, Job
from worker.batch.request import BATCH
from worker.batch.results import line_of
from worker.errors import Category
from worker.files import Storage, in_thread
from worker.files.storage import Writable
from worker.settings import Settings
from worker.store import EXPIRED, Results, Store, Tally

logger = logging.getLogger(__name__)

# Rows that are written at a time: their texts may be long.
PORTION = 200
OUTPUT, ERRORS = "output", "error"


class Files:
    """The two files of results, each made with its first line.

    Their names follow from the batch's, so that whoever writes them anew leaves nothing behind.
    """

    def __init__(self, storage: Storage, batch: Batch, stack: ExitStack) -> None:
        self._storage = storage
        self._batch = batch
        self._stack = stack
        self._open: dict[str, Writable] = {}
        self.sizes: dict[str, int] = {}
        self.tally = Tally()
        self.expired = False

    @property
    def lines(self) -> int:
        """How many were written."""
        return self.tally.completed + self.tally.failed

    def write(self, jobs: Sequence[Job]) -> None:
        """Write a portion. Blocks: for a thread."""
        for job in jobs:
            self.tally.add(job)
            if job.superseded:
                continue
            self.expired = self.expired or self._is_late(job)
            is_output, line = line_of(job, self._batch)
            self._write(OUTPUT if is_output else ERRORS, line)

    def _is_late(self, job: Job) -> bool:
        """Whether the batch's time was over before the row had ended well."""
        is_late = job.finished_at is not None and job.finished_at >= self._batch.expires_at
        return job.error_code == EXPIRED or (job.error_category == Category.DEADLINE and is_late)

    def _write(self, kind: str, line: bytes) -> None:
        if kind not in self._open:
            writing = self._storage.writing(file_id(self._batch, kind))
            self._open[kind] = self._stack.enter_context(writing)
        self._open[kind].write(line)
        self.sizes[kind] = self.sizes.get(kind, 0) + len(line)


def file_id(batch: Batch, kind: str) -> str:
    """The id of a batch's file of results."""
    return f"file-{batch.id.removeprefix(BATCH)}{kind}"


class Writing:
    """Writes the results of batches of which no row is open."""

    def __init__(self, store: Store, storage: Storage, settings: Settings) -> None:
        self._store = store
        self._storage = storage
        self._settings = settings

    async def run(self, batch: Batch) -> None:
        """Write the results, and end the batch; nothing where its lease is lost.

        Raises:
            StoreAway, StorageAway: the same again begins anew.
        """
        try:
            files = await self._written(batch)
        except LeaseLost:
            logger.info("batch %s: its results are written by another process", batch.id)
        else:
            await self._conclude(batch, files)

    async def _written(self, batch: Batch) -> Files:
        """The files, whole; nothing of them is there where something is raised."""
        stack = ExitStack()
        files = Files(self._storage, batch, stack)
        try:
            async for jobs in self._rows(batch):
                await in_thread(files.write, jobs)
        except BaseException as error:
            await in_thread(stack.__exit__, type(error), error, error.__traceback__)
            raise
        await in_thread(stack.close)
        return files

    async def _conclude(self, batch: Batch, files: Files) -> None:
        ids = {kind: await self._keep(batch, kind, size) for kind, size in files.sizes.items()}
        status = BatchStatus.COMPLETED
        if batch.cancelling_at is not None:
            status = BatchStatus.CANCELLED
        elif files.expired:
            status = BatchStatus.EXPIRED
        results = Results(files.lines, files.tally.document(), ids.get(OUTPUT), ids.get(ERRORS))
        if await self._store.intake.conclude(batch, status, results):
            said = batch.id, status.value, files.tally.completed, files.tally.failed
            logger.info("batch %s: %s, %d rows completed, %d failed", *said)

    async def _rows(self, batch: Batch) -> AsyncIterator[Sequence[Job]]:
        place = (-1, 0)
        while jobs := await self._store.tending.results(batch.id, place, PORTION):
            if not await self._store.intake.hold_on(batch, self._settings.lease_s):
                raise LeaseLost
            yield jobs
            place = jobs[-1].batch_row or 0, jobs[-1].generation

    async def _keep(self, batch: Batch, kind: str, size: int) -> str:
        life_s = batch.output_life_s or self._settings.file_life_s
        now = datetime.now(UTC)
        file = File(
            id=file_id(batch, kind),
            tenant=batch.tenant,
            purpose="batch_output",
            filename=f"{batch.id}_{kind}.jsonl",
            bytes=size,
            created_at=now,
            expires_at=now + timedelta(seconds=life_s),
        )
        return (await self._store.files.add(file)).id


class LeaseLost(Exception):
    """Another process writes the results now."""
