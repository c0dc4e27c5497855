"""`batch pause`, `resume`, `cancel` and `retry`."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence

from models import Batch, BatchStatus
from worker import settings
from worker.batch.document import batch_object
from worker.cli.batch.finding import RUNS_WHILE, found
from worker.cli.batch.showing import with_recent
from worker.cli.batch.wish import check_limits
from worker.cli.screen import print_json
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime
from worker.store import Recent

_Act = Callable[[Client, Batch], Awaitable[Batch]]


def pause(id: str, *, json: bool) -> None:
    """Begin no more rows of the batch.

    Raises:
        DeltaworksError: there is no such batch, or it has ended.
    """
    batch, recent = _do(id, lambda client, batch: client.batches.pause(batch))
    _tell(batch, recent, f"{batch.id} paused", json)


def resume(id: str, max_cost: float | None, max_failed_ratio: float | None, *, json: bool) -> None:
    """Have the batch go on.

    Raises:
        InvalidRequest: a limit is none.
        DeltaworksError: there is no such batch, or it has ended.
    """
    check_limits(max_cost, max_failed_ratio)
    limits = max_cost, max_failed_ratio
    batch, recent = _do(id, lambda client, batch: client.batches.resume(batch, *limits))
    _tell(batch, recent, f"{batch.id} resumed", json)
    _note(batch)


def cancel(id: str, *, json: bool) -> None:
    """Have what has not ended cancelled.

    Raises:
        DeltaworksError: there is no such batch, or it has ended.
    """
    batch, recent = _do(id, lambda client, batch: client.batches.cancel(batch))
    _tell(batch, recent, f"{batch.id} {batch.status}", json)
    _note(batch)


def retry(id: str, categories: Sequence[str] | None, *, json: bool) -> None:
    """Have failed rows run once more; print which batch does.

    Raises:
        InvalidRequest: there is no such category.
        DeltaworksError: there is no such batch, or nothing of it is to be retried.
    """
    batch, recent = _do(id, lambda client, batch: client.batches.retry(batch, categories))
    _tell(batch, recent, batch.id, json)
    _note(batch)


def _do(id: str, act: _Act) -> tuple[Batch, Recent | None]:
    log_as_command()
    return asyncio.run(_done(id, act))


async def _done(id: str, act: _Act) -> tuple[Batch, Recent | None]:
    async with open_client_runtime() as client:
        return await with_recent(client, await act(client, await found(client, id)))


def _tell(batch: Batch, recent: Recent | None, sentence: str, json: bool) -> None:
    if json:
        print_json(batch_object(batch, recent))
    else:
        sys.stdout.write(f"{sentence}\n")


def _note(batch: Batch) -> None:
    if settings.load().embedded_redis and not BatchStatus(batch.status).terminal:
        sys.stderr.write(f"{RUNS_WHILE}\n")
