"""Costs that become known only after their row has ended, and so perhaps after it was counted."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from models import Batch, BatchStatus, Job
from worker.store.tally import Tally


async def batch_of(session: AsyncSession, job: str) -> Batch | None:
    """The batch of a job, locked; None where it is in none.

    It is locked before its rows, as by everybody who locks both.
    """
    query = select(Batch).join(Job, Job.batch_id == Batch.id).where(Job.id == job)
    if session.get_bind().dialect.name == "postgresql":
        query = query.with_for_update(of=Batch)
    return (await session.scalars(query)).one_or_none()


async def correct(session: AsyncSession, batch: Batch, job: str, spent: float) -> None:
    """Have the sums of a locked batch hold what a row is about to cost besides, unless they will
    by themselves.
    """
    if batch.status == BatchStatus.FINALIZING:
        # Whoever writes its results sums up anew, and may be past the row already: once more.
        batch.lease_owner = batch.lease_until = None
        return
    known = select(Job.cost, Job.finished_at).where(Job.id == job)
    before, ended_at = (await session.execute(known)).one()
    counted_to = batch.tallied_to
    if counted_to is not None and ended_at is not None and ended_at <= counted_to:
        tally = Tally.of(batch.tally)
        tally.spend_more(before, spent)
        batch.tally = tally.document()
