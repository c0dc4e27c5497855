"""The Celery tasks: each hands one coroutine to the process's loop, and waits in its thread."""

import logging
import threading
import time
from contextlib import AbstractAsyncContextManager

from celery import Task
from celery.concurrency.thread import TaskPool
from celery.exceptions import Reject
from celery.signals import after_setup_logger, worker_init, worker_shutdown
from celery.worker import WorkController

from worker.app import RUN_JOB, SUBMIT, SWEEP, app
from worker.errors import DeltaworksError
from worker.logs import Withheld
from worker.loop import ProcessLoop
from worker.runtime import Worker, open_worker_runtime

logger = logging.getLogger(__name__)

# How long a message that could not be stored rests before the broker hands it out again.
STORE_AWAY_S = 5.0


class WorkerProcess:
    """The process's loop and runtime, opened at the first use."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._opened: tuple[ProcessLoop, Worker] | None = None
        self._context: AbstractAsyncContextManager[Worker] | None = None

    def open(self) -> tuple[ProcessLoop, Worker]:
        """The loop and the runtime on it.

        Raises:
            DeltaworksError: what is configured does not work; nothing stays open.
        """
        with self._opening:
            if self._opened is None:
                loop = ProcessLoop()
                self._context = open_worker_runtime()
                try:
                    self._opened = loop, loop.run(self._context.__aenter__())
                except BaseException:
                    loop.stop()
                    raise
            return self._opened

    def close(self) -> None:
        """Write out what is still to be published, and close all connections."""
        with self._opening:
            if self._opened is not None and self._context is not None:
                loop, _ = self._opened
                self._opened = None
                loop.run(self._context.__aexit__(None, None, None))
                loop.stop()


process = WorkerProcess()


@after_setup_logger.connect
def withhold_prompts(logger: logging.Logger, **_: object) -> None:
    """Where Celery sets up the logging, it may not quote messages either."""
    for handler in logger.handlers:
        handler.addFilter(Withheld())


@worker_init.connect
def open_before_consuming(sender: WorkController, **_: object) -> None:
    """Refuse at the start what would fail at the first job."""
    pool = sender.pool_cls  # type: ignore[attr-defined]  # celery-types does not know it
    if not issubclass(pool, TaskPool):
        raise SystemExit("deltaworks: this worker needs Celery's threads pool; drop -P/--pool")
    try:
        process.open()
    except DeltaworksError as error:
        raise SystemExit(f"deltaworks: {error}") from None


@worker_shutdown.connect
def close_after_consuming(**_: object) -> None:
    """Write out what is still to be published, while the process still runs."""
    process.close()


@app.task(name=RUN_JOB)
def run_job(id: str) -> None:
    """Run the job with this id, if it is to be had."""
    loop, worker = process.open()
    loop.run(worker.execution.run(id))


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


@app.task(name=SWEEP)
def sweep() -> None:
    """One turn of the sweep."""
    loop, worker = process.open()
    loop.run(worker.sweep.turn())
