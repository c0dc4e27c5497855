"""The jobs this process holds: their leases are renewed together, or their streams are stopped."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import MappingProxyType

from models import Job
from worker import metrics
from worker.errors import HoldLost, HoldOver
from worker.store import Holds

logger = logging.getLogger(__name__)

# A process stops its streams this long before a lease ends that it could not renew; a sixth of
# the lease where that is less.
MARGIN_S = 5.0
# When a suspect is tried again that found another one running.
AGAIN_S = 5.0


class Stop(IntEnum):
    """What a hold is asked to stop: nothing, what only waits, also its stream."""

    NOTHING = 0
    WAITS = 1
    ALL = 2


class Hold:
    """One job this process holds. `job.attempt` is the fence its writes carry."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._lost = False
        self._stop = Stop.NOTHING
        self._heeds = Stop.ALL
        self._task: asyncio.Task[object] | None = None
        self._trusted_until = 0.0
        self._watch: asyncio.TimerHandle | None = None

    def trust(self, until: float) -> None:
        """Rely on the lease until this moment of the loop's clock; then the hold is lost."""
        self._trusted_until = until
        if self._watch is None:
            self._look()

    def trusted_s(self) -> float:
        """Seconds for which the lease can still be relied on; 0 where the hold is lost."""
        if self._lost:
            return 0.0
        return max(self._trusted_until - asyncio.get_running_loop().time(), 0.0)

    @property
    def over(self) -> bool:
        """Whether the process ends now: whatever it holds is to be put down."""
        return self._stop is Stop.ALL

    def release(self) -> None:
        """The lease matters no longer."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None  # it holds us, and we it: no circle is left for the collector

    def is_lost(self) -> bool:
        """Whether `lose` was called."""
        return self._lost

    def lose(self) -> None:
        """A higher attempt exists, or the lease cannot be trusted: stop what is interruptible."""
        self._lost = True
        self._interrupt()

    def stop(self, what: Stop) -> None:
        """Have the job given back, from now on, as soon as it does what is to stop."""
        self._stop = max(self._stop, what)
        if self._stop >= self._heeds:
            self._interrupt()

    def _interrupt(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        if loop.time() < self._trusted_until:
            self._watch = loop.call_at(self._trusted_until, self._look)
        elif not self._lost:
            logger.warning("job %s: its lease can no longer be trusted", self.job.id)
            metrics.count(metrics.names.LEASE_LOSSES, "untrusted")
            self.lose()

    @contextmanager
    def interruptible(self, *, waiting: bool = False) -> Iterator[None]:
        """A block that `lose` or `stop` may end; outside, losing shows at the next write.

        Args:
            waiting: whether nothing is lost by giving the job back now.

        Raises:
            HoldLost: the hold was, or is being, lost.
            HoldOver: the job is to be given back.
        """
        self._heeds = Stop.WAITS if waiting else Stop.ALL
        if ending := self._ending():
            raise ending
        task = self._task = asyncio.current_task()
        try:
            yield
        except asyncio.CancelledError:
            ending = self._ending()
            # Somebody else may have cancelled the task as well.
            if ending is None or task is None or task.uncancel():
                raise
            raise ending from None
        finally:
            self._task = None

    def _ending(self) -> HoldLost | HoldOver | None:
        if self._lost:
            return HoldLost()
        return HoldOver() if self._stop >= self._heeds else None


class Leases:
    """The holds of one process and their renewal."""

    def __init__(
        self, holds: Holds, lease_s: float, renew_s: float, again_s: float = AGAIN_S
    ) -> None:
        """The leases of a process. A suspect that finds another is tried again in `again_s`."""
        self.holds = holds
        self._lease_s = lease_s
        self._renew_s = renew_s
        self._trust_s = lease_s - min(MARGIN_S, lease_s / 6)
        self._again_s = again_s
        self._held: dict[str, Hold] = {}
        self._suspect: str | None = None
        self._stop = Stop.NOTHING
        # Whether the process's loop is so late that it could not keep its leases.
        self.late = False
        self._database_up_since: float | None = None
        # How many bulk jobs the process is ready to run at a time; none before it takes any.
        self.bulk_slots = 0
        # Called once when somebody tells this process to end, by way of the database.
        self.when_told_to_end: Callable[[], None] = lambda: None
        self._told_to_end = False

    def database_up_s(self) -> float:
        """Seconds since when every question to the database was answered."""
        since = self._database_up_since
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    @property
    def held(self) -> "MappingProxyType[str, Hold]":
        """The holds by job id."""
        return MappingProxyType(self._held)

    @property
    def draining(self) -> bool:
        """Whether the process is about to end."""
        return self._stop > Stop.NOTHING

    def stop(self, what: Stop) -> None:
        """Claim no more, and have what is held given back (see `Hold.stop`)."""
        self._stop = max(self._stop, what)
        for hold in self._held.values():
            hold.stop(what)

    async def claim(self, id: str, *, patient: bool = False) -> Hold | None:
        """Claim the job; None where it is not to be had (see `Holds.claim`), or not here."""
        asked = asyncio.get_running_loop().time()
        if self.draining or self.late:
            logger.info("job %s: left to others: this process %s", id, self._why())
            await self.holds.leave(id)
            return None
        job = await self.holds.claim(id, self._lease_s, patient=patient)
        job = job or await self._claim_suspect(id)
        if job is None:
            return None
        if before := self._held.get(id):
            before.lose()  # it was rescued meanwhile, and nobody renews it any more
        hold = self._held[id] = Hold(job)
        hold.trust(asked + self._trust_s)
        hold.stop(self._stop)
        return hold

    def _why(self) -> str:
        return "ends" if self.draining else "is too late to keep leases"

    async def _claim_suspect(self, id: str) -> Job | None:
        """Claim the job if it is a suspect; while another one runs, leave it for a while."""
        if self._suspect is not None:
            await self.holds.leave(id, self._again_s)
            return None
        self._suspect = id
        job = None
        try:
            job = await self.holds.claim(id, self._lease_s, suspect=True)
        finally:
            if job is None:
                self._suspect = None
        return job

    def release(self, hold: Hold) -> None:
        """Renew no longer: the job was settled, given back or lost."""
        hold.release()
        if self._held.get(hold.job.id) is hold:
            del self._held[hold.job.id]
            if self._suspect == hold.job.id:
                self._suspect = None

    async def run(self) -> None:
        """Renew until cancelled. A database that does not answer is asked again and again."""
        while True:
            asked = asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(self._renew_s):
                    await self._renew(asked)
                self._database_up_since = self._database_up_since or asked
            except Exception as error:  # whatever the driver raises; each hold watches its lease
                metrics.count(metrics.names.RENEWALS_FAILED)
                logger.warning("leases could not be renewed: %s", type(error).__name__)
                self._database_up_since = None
            await asyncio.sleep(self._renew_s)

    async def present(self) -> None:
        """Say that this process lives, and what it is ready for."""
        slots = 0 if self.draining else self.bulk_slots
        if await self.holds.present(self._lease_s, slots) and not self._told_to_end:
            self._told_to_end = True
            if not self.draining:  # a second signal would end the grace
                logger.info("told to end by command")
                self.when_told_to_end()

    async def _renew(self, asked: float) -> None:
        held = dict(self._held)
        attempts = {id: hold.job.attempt for id, hold in held.items()}
        renewed = await self.holds.renew(attempts, self._lease_s)
        await self.present()
        for id, hold in held.items():
            if self._held.get(id) is not hold:
                continue  # released meanwhile, and perhaps claimed anew
            if id in renewed:
                hold.trust(asked + self._trust_s)
            # An attempt that rose while the question was under way was raised by ourselves.
            elif hold.job.attempt == attempts[id]:
                logger.info("job %s: the hold on attempt %d is lost", id, attempts[id])
                if not hold.is_lost():
                    metrics.count(metrics.names.LEASE_LOSSES, "taken")
                hold.lose()
