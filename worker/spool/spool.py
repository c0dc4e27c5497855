"""Keeping the ends of jobs while the database is away, and settling them when it is back."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from redis.exceptions import RedisError
from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from models import Job
from worker import metrics
from worker.channel.announce import announce_end
from worker.channel.log import Log
from worker.errors import StoreAway
from worker.settings import Settings
from worker.spool.folder import SpoolFolder
from worker.store import Holds, Settlement
from worker.transitions import Step, tell

logger = logging.getLogger(__name__)

# How often the folder is looked at for what another process has left, perhaps by dying.
LOOK_S = 2.0
# The limits of the pauses while the database is away: far below a lease, to come before a rescue.
FIRST_PAUSE_S, LAST_PAUSE_S = 0.1, 2.0
# How long nothing is announced after Redis did not answer: the sweep does it then, and to settle
# is more urgent.
REDIS_REST_S = 10.0


class Spool:
    """One process's hands on the spool.

    Attributes:
        kept: ends that were put into it.
        refused: ends that were not, because it is full or the disk fails: those jobs run again.
        settled: ends that were written to the database from it, whoever had put them there.
        lost: ends whose job had been taken over meanwhile.
    """

    def __init__(self, folder: SpoolFolder, holds: Holds, log: Log, settings: Settings) -> None:
        self._folder = folder
        self._holds = holds
        self._log = log
        self._settings = settings
        self._arrived = asyncio.Event()
        self._announce_from = 0.0
        self.kept = self.refused = self.settled = self.lost = 0
        metrics.read(metrics.names.SPOOL, self._counts)

    def _counts(self) -> Sequence[metrics.Sample]:
        counts = {
            "kept": self.kept,
            "refused": self.refused,
            "settled": self.settled,
            "lost": self.lost,
        }
        return [((what,), number) for what, number in counts.items()]

    async def keep(self, settlement: Settlement) -> bool:
        """Have the end wait here; False where there is no room for it."""
        name = f"{settlement.id}.{settlement.attempt}"
        try:
            await asyncio.to_thread(self._folder.write, name, settlement.encode())
        except OSError as error:
            self.refused += 1
            logger.error(  # noqa: TRY400 - the reason is all there is to say
                "job %s: its end is neither in the database nor in the spool, so it runs again: %s",
                settlement.id, error.strerror,
            )  # fmt: skip
            return False
        self.kept += 1
        logger.warning("job %s: its end waits in the spool for the database", settlement.id)
        self._arrived.set()
        return True

    async def run(self) -> None:
        """Settle whatever is here as soon as the database answers, until cancelled."""
        while True:
            self._arrived.clear()
            try:
                await AsyncRetrying(
                    retry=retry_if_exception_type(StoreAway),
                    wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, max=LAST_PAUSE_S),
                )(self._settle_all)
            except OSError as error:
                logger.warning("the spool cannot be read: %s", error.strerror)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._arrived.wait()

    async def _settle_all(self) -> None:
        names = await asyncio.to_thread(self._folder.names)
        if not names:
            return
        with self._folder.settling() as alone:
            for name in names if alone else ():
                with suppress(FileNotFoundError):  # another process was here before
                    await self._settle(name)

    async def _settle(self, name: str) -> None:
        content = await asyncio.to_thread(self._folder.read, name)
        try:
            job = await self._holds.settle_late(Settlement.decode(content))
        except StoreAway:
            raise
        except Exception as error:  # neither the file nor the database will change its mind
            # Only the kind of error: its words may quote what the file holds.
            logger.error("spool: %s.bad cannot be settled: %s", name, type(error).__name__)  # noqa: TRY400
            await asyncio.to_thread(self._folder.set_aside, name)
            return
        if job is None:
            self.lost += 1
            logger.warning("spool: %s came too late, its job was taken over", name)
        else:
            self.settled += 1
            tell(Step.SETTLED, job, reason="spooled")
            await self._announce(job)
        await asyncio.to_thread(self._folder.remove, name)

    async def _announce(self, job: Job) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._announce_from:
            return
        try:
            await announce_end(self._log, job, self._settings.closed_log_life_s(job.lane))
        except (RedisError, OSError) as error:
            self._announce_from = now + REDIS_REST_S
            logger.warning("job %s: not announced: %s", job.id, type(error).__name__)
