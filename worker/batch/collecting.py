"""Results as they stand, while the batch runs and after; with those of rows that were run again.

The files of an ended batch never change. What its rows came to when they were tried once more, in
a batch of their own, is merged here: a row that has succeeded since replaces the one that failed.
"""

from collections.abc import AsyncIterator, Sequence

from models import ANSWERED, Batch, Job
from worker.batch.results import Line, line_of
from worker.store import Store

# Rows that are read at a time: their texts may be long.
PORTION = 200


async def results(store: Store, batch: Batch) -> AsyncIterator[Sequence[Job]]:
    """The ended rows in the order of the file, in portions; each row once.

    What ends while this goes on may be in it or not.
    """
    again = await _descendants(store, batch)
    place = (-1, 0)
    while jobs := await store.tending.results(batch.id, place, PORTION):
        place = jobs[-1].batch_row or 0, jobs[-1].generation
        counting = [job for job in jobs if not job.superseded]
        yield await _merged(store, counting, again)


async def lines(store: Store, batch: Batch, *, output: bool) -> AsyncIterator[bytes]:
    """The lines that the batch's output file, or its file of errors, has by now, in portions."""
    async for jobs in results(store, batch):
        found: list[Line] = [line_of(job, batch) for job in jobs]
        if wanted := b"".join(line.content for line in found if line.is_output == output):
            yield wanted


async def _descendants(store: Store, batch: Batch) -> list[Batch]:
    """The batches that ran rows of this one again, and those that ran theirs; oldest first."""
    found: list[Batch] = []
    for child in await store.batches.children(batch.id):
        found += [child, *await _descendants(store, child)]
    return found


async def _merged(store: Store, jobs: Sequence[Job], again: Sequence[Batch]) -> Sequence[Job]:
    best = {job.batch_row or 0: job for job in jobs}
    for child in again:
        open_rows = [row for row, job in best.items() if job.state not in ANSWERED]
        if open_rows:
            since = await store.tending.results_of_rows(child.id, open_rows)
            best |= {row: job for row, job in since.items() if job.state in ANSWERED}
    return list(best.values())
