"""Work that is looked for whenever somebody says that there may be some."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from worker.errors import StorageAway, StoreAway

logger = logging.getLogger(__name__)


class Turns:
    """Takes a turn each time it is asked to; what is asked for during one is one more.

    Args:
        turn: the work.
        complaint: what is so where a turn fails, for the log; the next one tries again.
        pause_s: the least time from the end of a turn to the next one.
    """

    def __init__(
        self, turn: Callable[[], Awaitable[object]], complaint: str, pause_s: float = 0.0
    ) -> None:
        self._turn = turn
        self._complaint = complaint
        self._pause_s = pause_s
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Have a turn taken soon."""
        self._asked.set()

    async def run(self) -> None:
        """Take turns until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            try:
                await self._turn()
            except (StoreAway, StorageAway) as away:
                logger.warning("%s: %s", self._complaint, away)
            except Exception:  # not even a fault of ours may end a process that streams
                logger.exception("%s", self._complaint)
            await asyncio.sleep(self._pause_s)
