"""What a report of a batch is gathered from, in portions and without texts."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import literal, select, tuple_

from models import Attempt, Job
from worker.store.side import Side, unbroken

ROW = (
    Job.id, Job.batch_row, Job.generation, Job.custom_id, Job.state, Job.superseded, Job.attempt,
    Job.started_at, Job.finished_at, Job.usage, Job.cost, Job.error_category, Job.error_code,
    Job.error_status, Job.error_message,
)  # fmt: skip
ATTEMPT = (
    Attempt.job_id, Attempt.number, Attempt.started_at, Attempt.first_delta_at,
    Attempt.error_category, Attempt.error_code,
)  # fmt: skip


class Reporting(Side):
    """The report's side of the jobs of batches. Every method is one short statement."""

    @unbroken
    async def rows(self, batch: str, after: tuple[int, int], limit: int) -> Sequence[Any]:
        """A portion of the ended rows, superseded ones too, beyond this row and generation."""
        place = tuple_(Job.batch_row, Job.generation)
        mine = Job.batch_id == batch, Job.finished_at.is_not(None)
        query = select(*ROW).where(*mine, place > tuple_(*map(literal, after)))
        async with self._session() as session:
            found = await session.execute(query.order_by(*place).limit(limit))
            return found.all()

    @unbroken
    async def attempts(self, jobs: Sequence[str]) -> Sequence[Any]:
        """The requests to upstreams of these jobs, each job's oldest first."""
        query = select(*ATTEMPT).where(Attempt.job_id.in_(jobs))
        async with self._session() as session:
            found = await session.execute(query.order_by(Attempt.job_id, Attempt.number))
            return found.all()
