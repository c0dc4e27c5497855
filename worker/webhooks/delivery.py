"""Who is told when, and when again: the database says it, so that several processes may deliver.

A row is taken by putting its webhook off for longer than a try lasts. Should the process die
meanwhile, it is simply due again.
"""

import asyncio
import logging
import random
from collections.abc import Sequence

import httpx

from models import Lane
from worker.errors import StoreAway
from worker.store import Told, Webhooks
from worker.turns import Turns
from worker.webhooks.event import body_of, event_id, name_of
from worker.webhooks.sender import TIMEOUT_S, Sender
from worker.webhooks.silence import Silence

logger = logging.getLogger(__name__)

# Seconds from one try to the next: Standard Webhooks, "Deliverability and reliability", the
# example of a retry schedule. After the last one the webhook is given up.
RETRIES_S = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
# Each wait is longer by up to this part of it, so that what failed together does not come again
# together.
JITTER = 0.2
# How many are under way at a time in a process, and taken at a time.
AT_ONCE, PORTION = 50, 20
# For so long a taken webhook is another's: a try and its writing down, and some.
TAKEN_S = 4 * TIMEOUT_S
GONE = 410
SILENT = "not asked, as it has been silent"


class Deliveries:
    """Delivers the webhooks that are due whenever somebody says that there may be some.

    Args:
        store: where they are due.
        sender: None where there is no secret; then they wait for a process that has one.
    """

    def __init__(self, store: Webhooks, sender: Sender | None) -> None:
        self._store = store
        self._sender = sender
        self._silence = Silence()
        self._free = AT_ONCE
        self._warned = False
        self._under_way = asyncio.TaskGroup()
        self._turns = Turns(self._turn, "webhooks wait")

    def look(self) -> None:
        """Look soon for webhooks that are due."""
        self._turns.ask()

    async def run(self) -> None:
        """Deliver until cancelled; what is under way then is due again `TAKEN_S` later."""
        async with self._under_way:
            await self._turns.run()

    async def _turn(self) -> None:
        for told in await self._taken():
            self._free -= 1
            self._under_way.create_task(self._deliver(told)).add_done_callback(self._freed)

    async def _taken(self) -> Sequence[Told]:
        """A portion of those that are due: batches, then the interactive lane's, then bulk."""
        limit, taken = min(self._free, PORTION), list[Told]()
        try:
            if self._sender is None:
                await self._warn()
                return []
            taken += await self._store.batches(limit, TAKEN_S)
            for lane in (Lane.INTERACTIVE, Lane.BULK):
                if limit > len(taken):
                    taken += await self._store.jobs(lane, limit - len(taken), TAKEN_S)
        except Exception as error:  # not even a fault of ours may end a process that streams
            logger.warning("webhooks wait: %s", _reason(error))
        if taken:
            self.look()  # there may be more
        return taken

    def _freed(self, _: object) -> None:
        if self._free == 0:
            self.look()  # more may be due for which there was no room
        self._free += 1

    async def _warn(self) -> None:
        if not self._warned and await self._store.waiting():
            self._warned = True
            logger.warning("webhooks wait: set DELTAWORKS_WEBHOOK_SECRET for workers as well")

    async def _deliver(self, told: Told) -> None:
        try:
            await self._write_down(told, await self._answer(told, told.webhook_url or ""))
        except Exception as error:  # as above
            logger.warning("%s: its webhook is sent again: %s", name_of(told), _reason(error))

    async def _answer(self, told: Told, url: str) -> int | str:
        """The status that the receiver answered with, or what came in the way."""
        assert self._sender is not None
        try:
            if self._silence.lasts(url):
                return SILENT  # a try all the same: what it would come to is known
            status = await self._sender.post(url, event_id(told), body_of(told))
        except Exception as error:  # whatever a stranger's server and its name can bring about
            if isinstance(error, TimeoutError | httpx.ConnectError):
                self._silence.begins(url)
            # Messages may quote the URL, and its query be a secret.
            return type(error.__cause__ or error).__name__
        self._silence.ends(url)
        return status

    async def _write_down(self, told: Told, said: int | str) -> None:
        tries, name = told.webhook_tries, name_of(told)
        if isinstance(said, int) and 200 <= said < 300:
            logger.info("%s: its webhook was delivered: %d", name, said)
            await self._store.done(told)
        elif said == GONE or tries > len(RETRIES_S):
            logger.error("%s: its webhook is given up at try %d: %s", name, tries, said)
            await self._store.done(told)
        else:
            wait_s = RETRIES_S[tries - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311  no secret
            level = logging.INFO if said == SILENT else logging.WARNING
            logger.log(level, "%s: its webhook waits after try %d: %s", name, tries, said)
            await self._store.later(told, wait_s)


def _reason(error: Exception) -> str:
    """What may be logged of an error: messages of others may quote the URL, or a row."""
    return str(error) if isinstance(error, StoreAway) else type(error).__name__
