"""Jobs as the sweep sees them: due for a wake-up, past their deadline, or left by a dead process.

Each method takes one small portion, and may run in several copies at once.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import and_, case, or_, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from models import Job, JobState, clock
from worker.errors import Category
from worker.store.blame import POISON_AT, Lost, charged, notice
from worker.store.holds import NO_LEASE
from worker.store.jobs import FIRST_REWAKE_S
from worker.store.portions import Portions
from worker.store.side import unbroken

# After this many doublings the interval between two wake-ups of one job stays as it is.
DOUBLINGS = 6

# Queued, and not waiting for its batch to release it.
RELEASED = Job.state == JobState.QUEUED.value, ~Job.held


class Due(NamedTuple):
    """A queued job whose wake-up is to be sent now."""

    id: str
    lane: str


class Sweeping(Portions):
    """The sweep's side of the jobs table."""

    @unbroken
    async def due(self, limit: int) -> Sequence[Due]:
        """Queued jobs whose wake-up is due; their next one is put off, twice as long each time."""
        steps = [(Job.wakes == n, clock(FIRST_REWAKE_S * 2**n)) for n in range(DOUBLINGS)]
        later = case(*steps, else_=clock(FIRST_REWAKE_S * 2**DOUBLINGS))
        where = *RELEASED, Job.wake_at <= clock()
        changes = {"wake_at": later, "wakes": Job.wakes + 1}
        jobs = await self._change(Job, where, Job.wake_at, changes, limit)
        return [Due(job.id, job.lane) for job in jobs]

    @unbroken
    async def notice_deaths(self) -> Sequence[str]:
        """Processes that let their own lease expire; what it says about jobs is remembered."""
        async with self._transaction() as session, session.begin():
            return await notice(session)

    @unbroken
    async def hasten(self, older_than_s: float, limit: int) -> Sequence[str]:
        """Have wake-ups sent again at once that may have died with the process that took them.

        Args:
            older_than_s: how long ago the last wake-up of such a job was sent, at least; seconds.
            limit: the portion; the oldest first.
        """
        sent = [
            and_(Job.wakes == n + 1, Job.wake_at <= clock(FIRST_REWAKE_S * 2**n - older_than_s))
            for n in range(DOUBLINGS)
        ]
        where = *RELEASED, Job.wake_at > clock(), or_(*sent)
        # The next interval is the last one's once more: nobody has had the message.
        changes = {"wake_at": clock(), "wakes": Job.wakes - 1}
        return [job.id for job in await self._change(Job, where, Job.wake_at, changes, limit)]

    @unbroken
    async def rescue(self, limit: int, remembered_s: float = 60.0) -> Sequence[Job]:
        """Jobs whose holder let the lease expire: queued again at once, or failed as poison.

        The attempt is raised. Whom the holder's death is charged to, `blame` says.

        Args:
            limit: the portion.
            remembered_s: how long a death counts, in seconds; longer than a lease.
        """
        where = Job.state == JobState.IN_PROGRESS.value, Job.lease_until <= clock()
        columns = Job.id, Job.lease_owner, Job.crashes
        portion = self._portion(select(*columns).where(*where), Job.lease_until, limit)
        async with self._transaction() as session, session.begin():
            rows = await session.execute(portion)
            lost = [Lost(id, owner or "", crashes) for id, owner, crashes in rows]
            if not lost:
                return []
            blamed = await charged(session, lost, remembered_s)
            poison = {job.id for job in lost if job.id in blamed and job.crashes + 1 >= POISON_AT}
            others = {job.id for job in lost} - poison
            taken: list[Job] = []
            for ids, outcome in ((poison, _POISONED), (others, _QUEUED)):
                if ids:
                    taken += await session.scalars(_taken_back(ids, blamed, outcome))
            return taken

    @unbroken
    async def overdue(self, limit: int) -> Sequence[Job]:
        """Queued jobs past their deadline: failed with category `deadline`, the attempt raised.

        A job in progress is ended at its deadline by its holder, who keeps its text; a row of a
        batch with the batch, which expires before it.
        """
        late = Job.state == JobState.QUEUED.value, Job.deadline_at <= clock()
        where = *late, Job.batch_id.is_(None)
        changes = {
            "state": JobState.FAILED.value,
            "attempt": Job.attempt + 1,
            "error_category": Category.DEADLINE.value,
            "error_message": "the deadline passed while the job was queued",
            "finished_at": clock(),
        }
        return await self._change(Job, where, Job.deadline_at, changes, limit)


_QUEUED = {"state": JobState.QUEUED.value, "wake_at": clock(), "wakes": 0}
_POISONED = {
    "state": JobState.FAILED.value,
    "error_category": Category.POISON.value,
    "error_code": "worker_died",
    "error_message": f"{POISON_AT} worker processes died while they ran this job",
    "finished_at": clock(),
}


def _taken_back(
    ids: Collection[str], blamed: Collection[str], outcome: Mapping[str, object]
) -> ReturningUpdate[tuple[Job]]:
    charge = case((Job.id.in_(blamed), 1), else_=0)
    changes = {**NO_LEASE, "attempt": Job.attempt + 1, "crashes": Job.crashes + charge, **outcome}
    return update(Job).where(Job.id.in_(ids)).values(changes).returning(Job)
