"""Ended jobs and batches of which somebody is to be told."""

from collections.abc import Sequence

from sqlalchemy import select, update

from models import Batch, Job, Lane, clock
from worker.store.portions import Portions
from worker.store.side import unbroken

# A webhook that is to be tried now. A job's is due from the start, a batch's from its end on.
JOB_IS_DUE = Job.webhook_due_at <= clock(), Job.finished_at.is_not(None)
BATCH_IS_DUE = (Batch.webhook_due_at <= clock(),)

# Of whose end somebody is told.
Told = Job | Batch


class Webhooks(Portions):
    """The deliveries' side of both tables."""

    @unbroken
    async def jobs(self, lane: Lane, limit: int, for_s: float) -> Sequence[Job]:
        """Ended jobs of the lane whose webhook is due: a try more for each.

        They are due again in `for_s` seconds. Whoever takes them says before what became of the
        try; else it has died.
        """
        where = Job.lane == lane.value, *JOB_IS_DUE
        changes = {"webhook_due_at": clock(for_s), "webhook_tries": Job.webhook_tries + 1}
        return await self._change(Job, where, Job.webhook_due_at, changes, limit)

    @unbroken
    async def batches(self, limit: int, for_s: float) -> Sequence[Batch]:
        """The same of batches."""
        changes = {"webhook_due_at": clock(for_s), "webhook_tries": Batch.webhook_tries + 1}
        return await self._change(Batch, BATCH_IS_DUE, Batch.webhook_due_at, changes, limit)

    @unbroken
    async def waiting(self) -> bool:
        """Whether a webhook is due."""
        async with self._session() as session:
            for some in (select(Job.id).where(*JOB_IS_DUE), select(Batch.id).where(*BATCH_IS_DUE)):
                if await session.scalar(some.limit(1)) is not None:
                    return True
        return False

    @unbroken
    async def later(self, told: Told, for_s: float) -> None:
        """Have the webhook tried again in so many seconds, unless another has since taken it."""
        kind = type(told)
        taken = kind.webhook_tries == told.webhook_tries, kind.webhook_due_at.is_not(None)
        again = update(kind).where(kind.id == told.id, *taken)
        async with self._session() as session:
            await session.execute(again.values(webhook_due_at=clock(for_s)))

    @unbroken
    async def done(self, told: Told) -> None:
        """The webhook was delivered, or is given up."""
        kind = type(told)
        async with self._session() as session:
            await session.execute(
                update(kind).where(kind.id == told.id).values(webhook_due_at=None)
            )
