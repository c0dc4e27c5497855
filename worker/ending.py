"""The end of a worker process: what it runs gets the grace, is given back, and the process exits.

Celery's pool waits for everything that runs, however long, so a thread of our own keeps the
time. Whatever hangs, the process is gone `LAST_S` after the grace; the leases of what it still
holds then expire.
"""

import logging
import os
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread

from worker.leases import Stop

logger = logging.getLogger(__name__)

# Beyond the grace: to give jobs back, to publish, to close connections.
LAST_S = 5.0


class Ending:
    """Waits in a daemon thread until the process is to end, then sees to it.

    Args:
        grace_s: how long running jobs may go on, in seconds.
        stop: has jobs given back; called from this thread.
        held: how many jobs the process holds.
    """

    def __init__(
        self, grace_s: float, stop: Callable[[Stop], None], held: Callable[[], int]
    ) -> None:
        self._grace_s = grace_s
        self._stop = stop
        self._held = held
        self._begun = False
        # Reentrant: a signal may arrive while another one is handled.
        self._asked: SimpleQueue[float] = SimpleQueue()
        Thread(target=self._see_to_it, name="ending", daemon=True).start()

    def signalled(self, *, at_once: bool = False) -> None:
        """The process was told to end; the second time, or `at_once`, there is no grace."""
        self._asked.put(0.0 if self._begun or at_once else self._grace_s)
        self._begun = True

    def begin(self) -> None:
        """The process ends, whether it was told to or not."""
        if not self._begun:
            self.signalled()

    def _see_to_it(self) -> None:
        grace_s = self._asked.get()
        logger.info("ending: %d jobs run and have %g s", self._held(), grace_s)
        self._stop(Stop.WAITS)
        ends_at = time.monotonic() + grace_s
        while (left_s := ends_at - time.monotonic()) > 0:
            try:
                ends_at = min(ends_at, time.monotonic() + self._asked.get(timeout=left_s))
            except Empty:
                break
        logger.info("ending: %d jobs still run and are given back", self._held())
        self._stop(Stop.ALL)
        time.sleep(LAST_S)
        if held := self._held():
            logger.critical("ending hangs: the process is gone, and its hold on %d jobs", held)
            os._exit(70)
        logger.warning("ending hangs: the process is gone; it holds no job")
        os._exit(0)
