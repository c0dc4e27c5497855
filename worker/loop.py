"""The process's one asyncio loop, in a thread of its own, for callers that are not asynchronous.

Celery's threads hand it their coroutines and wait; the loop itself never waits for them.
"""

import asyncio
import threading
from collections.abc import Coroutine
from typing import TypeVar

import uvloop

T = TypeVar("T")


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

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()
        self.loop.close()
