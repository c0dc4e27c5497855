"""The Celery tasks: each hands one coroutine to the process's loop, and waits in its thread."""

import logging
import time
from collections.abc import Callable, Coroutine

from celery import Task
from celery.exceptions import Reject

from worker.app import DISPATCH, RUN_JOB, RUN_ROWS, SUBMIT, SWEEP, app
from worker.errors import StoreAway
from worker.process import process
from worker.runtime import Worker

logger = logging.getLogger(__name__)

# How long a message for which the database was away rests before the broker hands it out again.
STORE_AWAY_S = 5.0


@app.task(name=RUN_JOB)
def run_job(id: str, **_later: object) -> None:
    """Run the job with this id, if it is to be had. What a later version says besides is ignored,
    as by all tasks but `submit`, whose senders are strangers: during an upgrade old workers get
    the messages of new processes.
    """
    _run(f"job {id}", lambda worker: worker.execution.run(id))


@app.task(name=RUN_ROWS)
def run_rows(ids: list[str], **_later: object) -> None:
    """Run the bulk jobs with these ids, those that are to be had."""
    _run(f"{len(ids)} jobs", lambda worker: worker.rows.run(ids))


def _run(whose: str, run: Callable[[Worker], Coroutine[object, object, bool]]) -> None:
    loop, worker = process.open()
    try:
        elsewhere = loop.run(run(worker))
    except StoreAway as away:
        logger.warning("%s: not claimed: %s", whose, away)
        if not worker.leases.draining:
            time.sleep(STORE_AWAY_S)
        raise Reject("the store is away", requeue=True) from None
    if elsewhere:
        raise Reject("this process ends", requeue=True)


@app.task(name=SUBMIT, bind=True)
def submit(self: Task[..., None], document: object) -> None:
    """Accept a job request from a service that has only Celery and the broker's URL."""
    loop, worker = process.open()
    try:
        loop.run(worker.client.submission.submit_message(document, str(self.request.id)))
    except Exception as error:
        # The prompt is in the arguments and in no log: only the kind of error is told.
        logger.warning("a submitted message could not be stored yet: %s", type(error).__name__)
        time.sleep(STORE_AWAY_S)
        raise Reject("the store is away", requeue=True) from None


@app.task(name=DISPATCH)
def dispatch(**_later: object) -> None:
    """Release bulk jobs, as slots are free."""
    loop, worker = process.open()
    loop.loop.call_soon_threadsafe(worker.batches.refill)


@app.task(name=SWEEP)
def sweep(**_later: object) -> None:
    """One turn of the sweep."""
    loop, worker = process.open()
    loop.run(worker.sweep.turn())
