"""Foreground jobs whose client has gone: cancelled after a while, unless it comes back.

A client that gives up and asks again would otherwise pay for each of its tries.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager

from worker.errors import DeltaworksError, InvalidRequest

logger = logging.getLogger(__name__)

HEADER = "x-deltaworks-on-disconnect"
WISHES = ("cancel", "continue")


def is_continued(headers: Mapping[str, str]) -> bool:
    """Whether the client said that its job is to go on without it.

    Raises:
        InvalidRequest: it said something else.
    """
    said = headers.get(HEADER, "cancel").lower()
    if said not in WISHES:
        raise InvalidRequest(HEADER, f"is {said[:40]!r}", f"say {' or '.join(WISHES)}")
    return said == "continue"


class Abandonment:
    """The jobs whose client has left, and the time until they are cancelled.

    Args:
        cancel: cancels the job of this id.
        is_read: whether somebody reads the job again.
        patience_s: how long a client may be away, in seconds.
    """

    def __init__(
        self,
        cancel: Callable[[str], Coroutine[object, object, object]],
        is_read: Callable[[str], Awaitable[bool]],
        patience_s: float,
    ) -> None:
        self._cancel = cancel
        self._is_read = is_read
        self._patience_s = patience_s
        self._over = asyncio.Event()
        self._waiting: set[asyncio.Task[None]] = set()

    @contextmanager
    def watching(self, job: str, *, continued: bool) -> Iterator[None]:
        """A block that serves the job's client, and is broken off when the client goes away.

        Args:
            job: the job's id.
            continued: whether it goes on all the same.
        """
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            if not continued:
                self._left(job)
            raise

    def _left(self, job: str) -> None:
        task = asyncio.create_task(self._attend(job))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def aclose(self) -> None:
        """The gateway ends: cancel what waits now, because nobody will later."""
        self._over.set()
        if self._waiting:
            await asyncio.wait(self._waiting)

    async def _attend(self, job: str) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._over.wait()
        except TimeoutError:
            pass
        if await self._is_read(job):
            return
        try:
            await self._cancel(job)
            logger.info("job %s: cancelled, its client has gone", job)
        except DeltaworksError as error:
            logger.warning("job %s: its client has gone, and it goes on: %s", job, error)
