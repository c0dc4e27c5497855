"""What has been kept for long enough: found by index, and removed in portions.

Nothing goes that has not ended, or of whose end somebody is still to be told. A job's attempts go
with it, by the database's own rule; so does its idempotency key, which is a column of it.
"""

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, or_, select, update
from sqlalchemy.orm import aliased

from models import OPEN, Batch, File, Job, clock
from worker.store.portions import Portions
from worker.store.side import unbroken

# When a batch ended; one that failed was never run, and has no other moment.
ENDED_AT = func.coalesce(Batch.completed_at, Batch.expired_at, Batch.cancelled_at, Batch.failed_at)


class Retention(Portions):
    """The sweep's side of what is to be removed. Every method is one short transaction."""

    @unbroken
    async def remove_jobs(self, older_than_s: float, limit: int) -> int:
        """Remove a portion of the jobs of no batch that ended so long ago; how many there were."""
        where = Job.batch_id.is_(None), Job.webhook_due_at.is_(None), Job.finished_at.is_not(None)
        ended = select(Job.id).where(*where, Job.finished_at <= clock(-older_than_s))
        portion = self._portion(ended, Job.finished_at, limit).cte("portion")
        gone = delete(Job).where(Job.id.in_(select(portion.c.id))).returning(Job.id)
        async with self._session() as session:
            return len((await session.scalars(gone)).all())

    @unbroken
    async def forget_batches(self, older_than_s: float, limit: int) -> int:
        """Have nobody see a portion of the batches that ended so long ago, nor their results.

        Not those of which rows are just being run again: the new batch reads them. How many.
        """
        child = aliased(Batch)
        is_read = exists().where(child.retry_of == Batch.id, child.status.in_(OPEN))
        long_ago = clock(-older_than_s)
        kept = Batch.webhook_due_at.is_(None), Batch.forgotten_at.is_(None)
        # By when it was made, too, which is before it ended and has an index.
        ended = select(Batch.id).where(*kept, Batch.created_at <= long_ago)
        ended = ended.where(Batch.status.not_in(OPEN), long_ago >= ENDED_AT, ~is_read)
        portion = self._portion(ended, Batch.created_at, limit).cte("portion")
        forgotten = update(Batch).where(Batch.id.in_(select(portion.c.id)))
        forgotten = forgotten.values(forgotten_at=clock())
        async with self._transaction() as session, session.begin():
            batches = list(await session.scalars(forgotten.returning(Batch)))
            results = [id for each in batches for id in (each.output_file_id, each.error_file_id)]
            lives = or_(File.expires_at.is_(None), File.expires_at > clock())
            over = update(File).where(File.id.in_([id for id in results if id]), lives)
            await session.execute(over.values(expires_at=clock()))
        return len(batches)

    @unbroken
    async def forgotten(self, limit: int) -> Sequence[str]:
        """Batches that are to be removed, the first ones first."""
        query = select(Batch.id).where(Batch.forgotten_at.is_not(None))
        async with self._session() as session:
            return list(await session.scalars(query.order_by(Batch.forgotten_at).limit(limit)))

    @unbroken
    async def remove_rows(self, batch: str, limit: int) -> int:
        """Remove a portion of the ended rows of a batch; how many there were."""
        ended = select(Job.id).where(Job.batch_id == batch, Job.finished_at.is_not(None))
        portion = self._portion(ended, Job.finished_at, limit).cte("portion")
        gone = delete(Job).where(Job.id.in_(select(portion.c.id))).returning(Job.id)
        async with self._session() as session:
            return len((await session.scalars(gone)).all())

    @unbroken
    async def remove_batch(self, batch: str) -> None:
        """Remove a forgotten batch that has no row left. Harmless twice."""
        row = exists().where(Job.batch_id == batch)
        empty = delete(Batch).where(Batch.id == batch, Batch.forgotten_at.is_not(None), ~row)
        async with self._session() as session:
            await session.execute(empty)
