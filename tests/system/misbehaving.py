"""Tasks that no worker should have: a test's worker includes them, and sends them to itself."""

import threading
import time

from worker.app import app
from worker.process import process


@app.task(name="tests.hang")
def hang() -> None:
    """Keep this thread for ever."""
    threading.Event().wait()


@app.task(name="tests.block")
def block(seconds: float) -> None:
    """Block the process's loop for so many seconds."""
    loop, _ = process.open()
    loop.loop.call_soon_threadsafe(sleep_on_the_loop, seconds)


def sleep_on_the_loop(seconds: float) -> None:
    """What nobody should do."""
    time.sleep(seconds)
