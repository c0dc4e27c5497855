"""`batch list` and `batch status`."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from models import Batch
from worker.batch.document import MOMENTS, batch_object
from worker.batch.report import words
from worker.cli.batch.finding import found
from worker.cli.batch.progress import Progress, cleaned, fault_lines, progress_of, spent
from worker.cli.screen import print_json
from worker.cli.tables import named, print_rows
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime
from worker.store import Recent
from worker.submission import TENANT

COLUMNS = ("batch", "created", "state", "ended", "failed", "cost")
# Of the batch, what `status` prints as one line each where it is set.
SHOWN = (
    "endpoint", "model", "completion_window", "run_window", "priority", "max_failed_ratio",
    "input_file_id", "output_file_id", "error_file_id", "retry_of",
)  # fmt: skip

_Found = tuple[Batch, Recent | None]


def show_all(limit: int, *, json: bool) -> None:
    """Print the newest batches, so many at most."""
    log_as_command()
    listed = asyncio.run(_newest(limit))
    if json:
        print_json([batch_object(*each) for each in listed])
        return
    rows = [_row(*each) for each in listed]
    print_rows(COLUMNS, rows, named(COLUMNS, rows), bare=True)


def show(id: str, *, json: bool) -> None:
    """Print the batch, and what is wrong with its file.

    Raises:
        DeltaworksError: there is no such batch.
    """
    log_as_command()
    batch, recent = asyncio.run(_one(id))
    if json:
        print_json(batch_object(batch, recent))
        return
    progress = progress_of(batch, recent, datetime.now(UTC))
    sys.stdout.writelines(f"{name:17} {value}\n" for name, value in _facts(batch, progress))
    sys.stdout.writelines(f"{'fault':17} {line}\n" for line in fault_lines(batch))


async def with_recent(client: Client, batch: Batch) -> _Found:
    """The batch, and what its tally lacks."""
    return batch, await client.batches.recent(batch)


async def _newest(limit: int) -> Sequence[_Found]:
    async with open_client_runtime() as client:
        page = await client.store.batches.page(TENANT, limit)
        return [await with_recent(client, batch) for batch in page]


async def _one(id: str) -> _Found:
    async with open_client_runtime() as client:
        return await with_recent(client, await found(client, id))


def _row(batch: Batch, recent: Recent | None) -> list[str]:
    progress = progress_of(batch, recent, datetime.now(UTC))
    return [
        batch.id,
        f"{batch.created_at.astimezone():%m-%d %H:%M}",
        progress.phase,
        f"{progress.done:,}/{progress.total:,}",
        words.count(progress.failed),
        "" if progress.cost is None else words.money(progress.cost),
    ]


def _facts(batch: Batch, progress: Progress) -> Iterator[tuple[str, str]]:
    yield "id", batch.id
    yield "status", batch.status
    if progress.phase != batch.status:
        yield "state", progress.phase
    if progress.total:
        total = words.counted(progress.total, "row")
        yield "rows", f"{total}: {progress.completed:,} completed, {progress.failed:,} failed"
    if said := spent(progress):
        yield "so far" if not progress.status.terminal else "in all", ", ".join(said)
    for name in SHOWN:
        value = getattr(batch, name)
        if value is not None:
            yield name, cleaned(str(value))
    for name, value in (batch.labels or {}).items():
        yield "metadata", cleaned(f"{name}={value}")
    for name in MOMENTS:
        at = getattr(batch, name)
        if at is not None:
            yield name, _moment(at)


def _moment(at: datetime) -> str:
    return at.astimezone().isoformat(sep=" ", timespec="seconds")
