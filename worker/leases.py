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
        self._trusted_until = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def trust(self, until: float) -> None:
        """Rely on the lease until this moment of the loop's clock; then the hold is lost."""
        self._trusted_until = until
        if self._watch is None:
            self._look()

    def release(self) -> None:
        """The lease matters no longer."""
        if self._watch is not None:
            self._watch.cancel()

    def is_lost(self) -> bool:
        """Whether `lose` was called."""
        return self._lost

    def lose(self) -> None:
        """A higher attempt exists, or the lease cannot be trusted: stop what is interruptible."""
        if not self._lost and self._task is not None:
            self._task.cancel()
        self._lost = True

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._trusted_until:
            self._watch = loop.call_at(self._trusted_until, self._look)
        elif not self._lost:
            logger.warning("job %s: its lease can no longer be trusted", self.job.id)
            self.lose()

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
            # Somebody else may have cancelled the task as well.
            if not self.is_lost() or task is None or task.uncancel():
                raise
            raise HoldLost from None
        finally:
            self._task = None


class Leases:
    """The holds of one process and their renewal."""

    def __init__(self, holds: Holds, lease_s: float, renew_s: float) -> None:
        self._holds = holds
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._trust_s = lease_s - min(MARGIN_S, lease_s / 6)
        self._held: dict[str, Hold] = {}
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
        if before := self._held.get(id):
            before.lose()  # it was rescued meanwhile, and nobody renews it any more
        hold = self._held[id] = Hold(job)
        hold.trust(asked + self._trust_s)
        return hold

    def release(self, hold: Hold) -> None:
        """Renew no longer: the job was settled, given back or lost."""
        hold.release()
        if self._held.get(hold.job.id) is hold:
            del self._held[hold.job.id]

    async def run(self) -> None:
        """Renew until cancelled. A database that does not answer is asked again and again."""
        while True:
            await asyncio.sleep(self._renew_s)
            asked = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._renew_s):
                    await self._renew(asked)
                self._database_up_since = self._database_up_since or asked
            except Exception as error:  # whatever the driver raises; each hold watches its lease
                logger.warning("leases could not be renewed: %s", type(error).__name__)
                self._database_up_since = None

    async def _renew(self, asked: float) -> None:
        held = dict(self._held)
        attempts = {id: hold.job.attempt for id, hold in held.items()}
        renewed = await self._holds.renew(attempts, self._lease_s)
        for id, hold in held.items():
            if self._held.get(id) is not hold:
                continue  # released meanwhile, and perhaps claimed anew
            if id in renewed:
                hold.trust(asked + self._trust_s)
            # An attempt that rose while the question was under way was raised by ourselves.
            elif hold.job.attempt == attempts[id]:
                logger.info("job %s: the hold on attempt %d is lost", id, attempts[id])
                hold.lose()
