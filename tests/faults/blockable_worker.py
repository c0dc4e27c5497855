"""`deltaworks worker`, but for one thing: on SIGUSR2 its event loop sleeps, for two leases."""

import signal
import time

from worker import settings
from worker.cli import main
from worker.process import process


def _block(*_: object) -> None:
    loop, _worker = process.open()
    loop.loop.call_soon_threadsafe(time.sleep, 2.5 * settings.load().lease_s)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR2, _block)
    main()
