"""The process's one asyncio loop, in a thread of its own, for callers that are not asynchronous.

Celery's pool hands it coroutines (see `worker.pool`); the loop never waits for Celery. A watch, in
one more thread, sees when it is late.
"""

import asyncio
import logging
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from traceback import walk_stack
from typing import TypeVar

import uvloop

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How often the loop is looked at, and how late it may answer before that is logged.
LOOK_S = 0.5
LATE_S = 1.0
# Frames of the loop's stack that are logged, innermost first.
FRAMES = 12


class ProcessLoop:
    """A running loop in a daemon thread. Every method may be called from any thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="deltaworks-loop", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[object, object, T]) -> T:
        """Run the coroutine on the loop and wait for what it returns or raises."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def stop(self) -> None:
        """Stop the loop; what still runs on it is abandoned."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()

    def stack(self) -> str:
        """Where the loop is just now, in one line: files, lines and functions, no values."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        frames = [
            f"{frame.f_code.co_filename}:{line} {frame.f_code.co_qualname}"
            for frame, line in walk_stack(frame)
        ]
        return " < ".join(frames[:FRAMES])

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()


class Watch:
    """Sees from a thread of its own when the loop is late, says so, and where the loop is.

    Args:
        loop: is pinged from time to time.
        too_late_s: a lag beyond it, in seconds, is reported.
        report: called from the watch's thread when the lag passes `too_late_s`, with True, and,
            with False, once the loop answers in time again.
    """

    def __init__(
        self, loop: ProcessLoop, too_late_s: float, report: Callable[[bool], None]
    ) -> None:
        self._loop = loop
        self._too_late_s = too_late_s
        self._report = report
        self._lag_s = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)
        self._thread.start()

    @property
    def lag_s(self) -> float:
        """How late the loop answered when it was last looked at."""
        return self._lag_s

    def stop(self) -> None:
        """Watch no longer; to be called while the loop runs."""
        self._stopped.set()
        self._thread.join()

    def _watch(self) -> None:
        too_late = False
        while not self._stopped.wait(min(LOOK_S, self._too_late_s)):
            was, too_late = too_late, self._ping() > self._too_late_s
            if was and not too_late:
                self._report(False)

    def _ping(self) -> float:
        """How late the loop answers; what is to be said of it is said while it does not."""
        answered, asked = threading.Event(), time.monotonic()
        self._loop.loop.call_soon_threadsafe(answered.set)
        steps = [(LATE_S, self._log), (self._too_late_s, lambda: self._report(True))]
        for after_s, tell in sorted(steps, key=lambda step: step[0]):
            if not answered.wait(max(0.0, asked + after_s - time.monotonic())):
                tell()
        answered.wait()
        lag_s = self._lag_s = time.monotonic() - asked
        if lag_s > LATE_S:
            logger.warning("the event loop was blocked for %.1f s", lag_s)
        return lag_s

    def _log(self) -> None:
        stack = self._loop.stack()
        logger.warning("the event loop is blocked for more than %g s, at %s", LATE_S, stack)
