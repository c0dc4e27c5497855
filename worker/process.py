"""A worker process: its loop and runtime, and what Celery's signals mean for them."""

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from functools import partial
from typing import Any

from celery.apps import worker as program
from celery.bootsteps import StartStopStep
from celery.signals import (
    setup_logging,
    worker_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)
from celery.worker import WorkController, state
from celery.worker.components import Pool
from kombu.asynchronous import Hub

from models import Lane
from worker import metrics, settings
from worker.app import app
from worker.ending import Ending
from worker.errors import DeltaworksError, StoreAway
from worker.leases import Stop
from worker.logs import log_as_celery
from worker.loop import ProcessLoop, Watch
from worker.runtime import Worker, open_worker_runtime

logger = logging.getLogger(__name__)

# Redis answers the last question for a message within kombu's `brpop_timeout`, one second.
LAST_MESSAGE_S = 1.1


class WorkerProcess:
    """The process's loop and runtime, opened at the first use."""

    def __init__(self) -> None:
        self._opening = threading.Lock()
        self._opened: tuple[ProcessLoop, Worker] | None = None
        self._context: AbstractAsyncContextManager[Worker] | None = None
        self._watch: Watch | None = None
        self._serving = ExitStack()
        self.ending: Ending | None = None

    def open(self) -> tuple[ProcessLoop, Worker]:
        """The loop and the runtime on it.

        Raises:
            DeltaworksError: what is configured does not work; nothing stays open.
        """
        with self._opening:
            if self._opened is None:
                self._serving.enter_context(metrics.serving(settings.load()))
                loop = ProcessLoop()
                self._context = open_worker_runtime()
                try:
                    self._opened = loop, loop.run(self._context.__aenter__())
                except BaseException:
                    loop.stop()
                    self._serving.close()
                    raise
                self._attend(*self._opened)
            return self._opened

    @property
    def worker(self) -> Worker:
        """The runtime. Raises like `open`."""
        return self.open()[1]

    def soon(self, callback: Callable[..., object], *args: object) -> None:
        """Have the loop call it in one of its next turns; may be called from any thread."""
        self.open()[0].loop.call_soon_threadsafe(callback, *args)

    def _attend(self, loop: ProcessLoop, worker: Worker) -> None:
        leases, chosen = worker.leases, worker.client.settings

        def stop(what: Stop) -> None:
            loop.loop.call_soon_threadsafe(leases.stop, what)

        def report(late: bool) -> None:
            leases.late = late

        # Half a lease late, and the loop may be too late to renew it.
        watch = self._watch = Watch(loop, chosen.lease_s / 2, report)
        metrics.read(metrics.names.LOOP_LAG, lambda: watch.lag_s)
        self.ending = Ending(chosen.grace_s, stop, lambda: len(leases.held))
        # By command as by signal: one way to end, and Celery knows it.
        leases.when_told_to_end = lambda: os.kill(os.getpid(), signal.SIGTERM)

    def offer(self, queues: Collection[str], streams: int) -> None:
        """Say how many bulk jobs the process is ready for.

        Args:
            queues: those it serves.
            streams: jobs at a time.
        """
        loop, worker = self.open()
        metrics.read(metrics.names.SLOTS, partial(int, streams))
        reserve = worker.client.settings.interactive_reserve
        if Lane.INTERACTIVE in queues:
            streams -= math.ceil(streams * reserve)
        worker.leases.bulk_slots = max(streams, 1) if Lane.BULK in queues else 0
        with suppress(StoreAway):  # the next renewal says so, too
            loop.run(worker.leases.present())

    def close(self) -> None:
        """Write out what is still to be published, and close all connections."""
        with self._opening:
            if self._opened is not None and self._context is not None:
                loop, _ = self._opened
                self._opened = None
                if self._watch is not None:
                    self._watch.stop()
                loop.run(self._context.__aexit__(None, None, None))
                loop.stop()
                self._serving.close()


process = WorkerProcess()


# Celery leaves logging alone where somebody listens; `deltaworks worker` listens itself.
setup_logging.connect(log_as_celery)


@worker_init.connect
def open_before_consuming(**_: object) -> None:
    """Refuse at the start what would fail at the first job."""
    try:
        process.open()
    except DeltaworksError as error:
        raise SystemExit(f"deltaworks: {error}") from None


@worker_ready.connect
def heed_every_signal(sender: Any, **_: object) -> None:
    """Have every signal end the worker warmly, and tell us.

    Celery's cold shutdown needs a pool that can end tasks, and this one cannot.
    """
    for name in ("SIGTERM", "SIGINT", "SIGQUIT"):
        program.install_worker_term_handler(  # type: ignore[attr-defined]  # as above
            sender.controller, sig=name, how="Warm", callback=None
        )


@worker_ready.connect
def offer_slots(sender: Any, **_: object) -> None:
    """Say for how many bulk jobs this process is ready: now it takes them."""
    process.offer({queue.name for queue in sender.task_consumer.queues}, sender.pool.limit)


@worker_shutting_down.connect
def end_soon(sig: str, **_: object) -> None:
    """Take no more jobs; those that run have the grace, or with SIGQUIT none."""
    if process.ending is not None:
        process.ending.signalled(at_once=sig == "SIGQUIT")


class Drain(StartStopStep):
    """Between Celery's consumer and its pool, which waits for all that runs, our jobs end."""

    requires = (Pool,)

    def stop(self, parent: WorkController) -> None:
        """Runs when the consumer was stopped, for whatever reason.

        Celery's hub goes on meanwhile: messages are acknowledged, and one that Redis still hands
        to the consumer goes back to its queue now, not when all jobs have ended.
        """
        if process.ending is not None:
            process.ending.begin()
        hub: Hub | None = getattr(parent, "hub", None)
        if hub is not None:
            try:
                _run_until_done(hub)
            except Exception as error:  # the broker is away; acknowledging is a courtesy
                logger.warning("ending without the broker: %s", type(error).__name__)

    def terminate(self, parent: WorkController) -> None:
        """As `stop`."""
        self.stop(parent)


def _run_until_done(hub: Hub) -> None:
    loop, answered_at = hub.create_loop(), time.monotonic() + LAST_MESSAGE_S
    hub.call_later(LAST_MESSAGE_S, lambda: None)  # else it may sleep longer
    while state.reserved_requests or time.monotonic() < answered_at:
        try:
            next(loop)
        except StopIteration:
            loop = hub.create_loop()


app.steps["worker"].add(Drain)


@worker_shutdown.connect
def close_after_consuming(**_: object) -> None:
    """Write out what is still to be published, while the process still runs."""
    process.close()
