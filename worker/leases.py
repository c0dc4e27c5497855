"""The jobs this process holds: their leases are renewed together, or their streams are stopped."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from types import MappingProxyType

from models import Job
from worker.errors import HoldLost
from worker.store import Holds

logger = logging.getLogger(__name__)

# A process stops its streams this long before a lease ends that it could not renew; a sixth of
# the lease where that is less.
MARGIN_S = 5.0


class Hold:
    """One job this process holds. `job.attempt` is the fence its writes carry."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lost = False
        self._task: asyncio.Task[object] | None = None

    def is_lost(self) -> bool:
        """Whether `lose` was called."""
        return self._lost

    def lose(self) -> None:
        """A higher attempt exists, or the lease cannot be trusted: stop what is interruptible."""
        self._lost = True
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block that `lose` may end; outside, losing shows at the next conditional write.

        Raises:
            HoldLost: the hold was, or is being, lost.
        """
        if self.is_lost():
            raise HoldLost
        task = self._task = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            if not self.is_lost() or task is None:
                raise
            task.uncancel()
            raise HoldLost from None
        finally:
            self._task = None


class Leases:
    """The holds of one process and their renewal."""

    def __init__(self, holds: Holds, lease_s: float, renew_s: float) -> None:
        self._holds = holds
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._held: dict[str, Hold] = {}
        self._trusted_until: dict[str, float] = {}
        self._database_up_since: float | None = None

    def database_up_s(self) -> float:
        """Seconds since when every question to the database was answered."""
        since = self._database_up_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    @property
    def held(self) -> "MappingProxyType[str, Hold]":
        """The holds by job id."""
        return MappingProxyType(self._held)

    async def claim(self, id: str) -> Hold | None:
        """Claim the job; None where it is not to be had (see `Holds.claim`)."""
        asked = asyncio.get_running_loop().time()
        job = await self._holds.claim(id, self._lease_s)
        if job is None:
            return None
        hold = self._held[id] = Hold(job)
        self._trust([id], asked)
        return hold

    def release(self, hold: Hold) -> None:
        """Renew no longer: the job was settled, given back or lost."""
        if self._held.get(hold.job.id) is hold:
            del self._held[hold.job.id]
            del self._trusted_until[hold.job.id]

    async def run(self) -> None:
        """Renew until cancelled. A database that does not answer is asked again and again."""
        while True:
            await asyncio.sleep(self._renew_s)
            asked = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._renew_s):
                    await self._renew(asked)
                self._database_up_since = self._database_up_since or asked
            except Exception as error:  # whatever the driver raises; the clock below decides
                logger.warning("leases could not be renewed: %s", type(error).__name__)
                self._database_up_since = None
            self._lose_untrusted()

    async def _renew(self, asked: float) -> None:
        attempts = {id: hold.job.attempt for id, hold in self._held.items()}
        renewed = await self._holds.renew(attempts, self._lease_s)
        self._trust(renewed & self._held.keys(), asked)
        for id, attempt in attempts.items():
            hold = self._held.get(id)
            # An attempt that rose while the question was under way was raised by ourselves.
            if hold and id not in renewed and hold.job.attempt == attempt:
                logger.info("job %s: the hold on attempt %d is lost", id, attempt)
                hold.lose()

    def _trust(self, ids: "set[str] | list[str]", asked: float) -> None:
        margin = min(MARGIN_S, self._lease_s / 6)
        for id in ids:
            self._trusted_until[id] = asked + self._lease_s - margin

    def _lose_untrusted(self) -> None:
        # The next look is one renewal later: what could expire until then is stopped now.
        horizon = asyncio.get_running_loop().time() + self._renew_s
        for id, until in list(self._trusted_until.items()):
            if until < horizon and not self._held[id].is_lost():
                logger.warning("job %s: its lease can no longer be trusted", id)
                self._held[id].lose()
