"""The Celery tasks: each is a coroutine on the process's loop (see `worker.pool`)."""

import asyncio
import logging
from collections.abc import Awaitable

from celery.exceptions import Reject

from worker.app import DISPATCH, RUN_JOB, RUN_ROWS, SUBMIT, SWEEP, app
from worker.errors import StoreAway
from worker.pool import Awaited, message
from worker.process import process
from worker.tracing import received

logger = logging.getLogger(__name__)

# How long a message for which the database was away rests before the broker hands it out again.
STORE_AWAY_S = 5.0


@app.task(name=RUN_JOB, base=Awaited)
async def run_job(id: str, **_later: object) -> None:
    """Run the job with this id, if it is to be had. What a later version says besides is ignored,
    as by all tasks but `submit`, whose senders are strangers: during an upgrade old workers get
    the messages of new processes.
    """
    await _run(f"job {id}", process.worker.execution.run(id))


@app.task(name=RUN_ROWS, base=Awaited)
async def run_rows(ids: list[str], **_later: object) -> None:
    """Run the bulk jobs with these ids, those that are to be had."""
    await _run(f"{len(ids)} jobs", process.worker.rows.run(ids))


async def _run(whose: str, running: Awaitable[bool]) -> None:
    try:
        elsewhere = await running
    except StoreAway as away:
        logger.warning("%s: not claimed: %s", whose, away)
        if not process.worker.leases.draining:
            await asyncio.sleep(STORE_AWAY_S)
        raise Reject("the store is away", requeue=True) from None
    if elsewhere:
        raise Reject("this process ends", requeue=True)


@app.task(name=SUBMIT, base=Awaited)
async def submit(document: object) -> None:
    """Accept a job request from a service that has only Celery and the broker's URL."""
    try:
        with received(headers := message.get()):
            submission = process.worker.client.submission
            await submission.submit_message(document, str(headers["id"]))
    except Exception as error:
        # The prompt is in the arguments and in no log: only the kind of error is told.
        logger.warning("a submitted message could not be stored yet: %s", type(error).__name__)
        await asyncio.sleep(STORE_AWAY_S)
        raise Reject("the store is away", requeue=True) from None


@app.task(name=DISPATCH, base=Awaited)
async def dispatch(**_later: object) -> None:
    """Release bulk jobs, as slots are free."""
    process.worker.batches.refill()


@app.task(name=SWEEP, base=Awaited)
async def sweep(**_later: object) -> None:
    """One turn of the sweep."""
    await process.worker.sweep.turn()
