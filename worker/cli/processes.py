"""The long-running processes: a worker, and beat."""

import asyncio
import logging
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Thread

from celery.beat import Service
from celery.signals import after_task_publish, worker_ready, worker_shutting_down

from models import Lane
from worker import settings
from worker.app import SUBMIT, SWEEP, app
from worker.cli.surveying import surveying_process
from worker.errors import InvalidRequest
from worker.logs import log_as_process
from worker.pool import Pool
from worker.process import process
from worker.runtime import survey
from worker.sockets import allow_many_sockets

logger = logging.getLogger(__name__)

# How old a worker's ready file gets at most, as long as its loop turns.
FRESH_S = 5.0


def worker(
    lanes: Sequence[str],
    streams: int | None,
    beat: bool,
    log_level: str | None,
    ready_file: Path | None,
) -> int:
    """Run Celery's worker in this process until SIGTERM; Celery's own exit code.

    Then running jobs have the grace, and at the second SIGTERM, or at SIGQUIT, none.

    The runtime is opened first: what does not work is refused now, not at the first job.

    Args:
        lanes: names of the lanes to serve; empty is both.
        streams: jobs at once; None is the setting's.
        beat: whether a thread of this process ticks for the sweep.
        log_level: of our own records.
        ready_file: created once jobs are taken, removed at once on SIGTERM. As long as the loop
            of the process turns its time is at most `FRESH_S` ago.

    Raises:
        DeltaworksError: an option or the configuration does not work.
    """
    served, at_once = _lanes(lanes), streams or settings.load().streams
    log_as_process(log_level)
    allow_many_sockets()
    process.open()
    if ready_file is not None:
        _keep(ready_file)
    if beat:
        _tick()
    ready = partial(logger.info, "ready: %d streams, %s", at_once, " and ".join(served))
    worker_ready.connect(lambda **_: ready(), weak=False)
    serving = app.Worker(
        hostname=f"deltaworks-{os.getpid()}@{socket.gethostname()}",
        pool_cls=Pool,
        concurrency=at_once,
        queues=[*served, SUBMIT, SWEEP],
        without_gossip=True,
        without_mingle=True,
        loglevel="INFO",
        quiet=True,
    )
    serving.start()
    return serving.exitcode or 0


def beat(log_level: str | None, ready_file: Path | None) -> None:
    """Tick for the sweep in this process until SIGTERM. It keeps nothing on disk.

    Args:
        log_level: of our own records.
        ready_file: its time is that of the last tick which the broker took.

    Raises:
        DeltaworksError: the level or the configuration does not work.
    """
    log_as_process(log_level)
    if ready_file is not None:
        after_task_publish.connect(lambda **_: _touch(ready_file), weak=False)
    logger.info("ticking every %g s", settings.load().sweep_s)
    with surveying_process():
        app.Beat(quiet=True, loglevel="INFO").run()


def _lanes(names: Sequence[str]) -> list[str]:
    for name in names:
        if name not in list(Lane):
            raise InvalidRequest("--lane", f"is {name[:40]!r}", f"use {' or '.join(Lane)}")
    return list(dict.fromkeys(names)) or [lane.value for lane in Lane]


def _keep(ready_file: Path) -> None:
    """Have the file there as long as jobs are taken, which ends before the process does."""
    loop = process.open()[0].loop

    def create(**_: object) -> None:
        _touch(ready_file)
        loop.call_soon_threadsafe(refresh)

    def refresh() -> None:
        with suppress(FileNotFoundError):  # no more jobs are taken
            os.utime(ready_file)
            loop.call_later(FRESH_S, refresh)

    def remove(**_: object) -> None:
        with suppress(OSError):
            ready_file.unlink()

    worker_ready.connect(create, weak=False)
    worker_shutting_down.connect(remove, weak=False)


def _touch(ready_file: Path) -> None:
    try:
        ready_file.touch()
    except OSError as error:
        logger.critical("%s cannot be created: %s", ready_file, error.strerror)


def _tick() -> None:
    # Not the worker's own --beat: that forks, here a process with threads and an open loop, and
    # leaves the child behind where the parent is killed.
    ticking = Service(app, max_interval=1, scheduler_cls=app.conf.beat_scheduler)
    thread = Thread(target=ticking.start, name="beat", daemon=True)
    worker_ready.connect(lambda **_: thread.start(), weak=False)
    worker_shutting_down.connect(lambda **_: ticking.stop(), weak=False)
    if settings.load().metrics_port is not None:
        loop, worker = process.open()
        surveying = asyncio.run_coroutine_threadsafe(survey(worker.client), loop.loop)
        worker_shutting_down.connect(lambda **_: surveying.cancel(), weak=False)
