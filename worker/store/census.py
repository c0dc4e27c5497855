"""The census: what waits and runs in the whole fleet, at a cost that ended jobs do not add to."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, Select, case, func, select

from models import OPEN, Batch, Job, JobState, Process, Suspension, clock
from worker.store.side import Side, unbroken
from worker.store.sweeping import RELEASED

# At most so many jobs of each kind are looked at: who has more of them waiting knows enough.
MOST = 100_000


class Waiting(Struct, frozen=True):
    """Queued jobs of one lane that wait for the same.

    Attributes:
        lane: its name.
        later: whether they are scheduled for another time.
        jobs: how many.
        since: when the oldest of them was accepted, or due. Rows of batches were accepted long
            before they were released: None where there are no others.
    """

    lane: str
    later: bool
    jobs: int
    since: datetime | None


class Counts(Struct, frozen=True):
    """One census.

    Attributes:
        now: the database's time.
        released: queued jobs for which a worker is woken.
        held: queued jobs in no batch that wait to be released.
        running: jobs in progress, by lane.
        batches: those that have not ended.
        suspensions: those that stand.
        processes: workers with a live lease.
    """

    now: datetime
    released: Sequence[Waiting]
    held: Sequence[Waiting]
    running: Mapping[str, int]
    batches: Sequence[Batch]
    suspensions: Sequence[Suspension]
    processes: int


class Census(Side):
    """Single statements, each over an index of what has not ended."""

    @unbroken
    async def take(self) -> Counts:
        """Count."""
        running = select(Job.lane, func.count()).where(Job.state == JobState.IN_PROGRESS.value)
        open_batches = select(Batch).where(Batch.status.in_([each.value for each in OPEN]))
        standing = select(Suspension).where(Suspension.until > clock())
        alive = select(func.count()).select_from(Process).where(Process.lease_until > clock())
        async with self._session() as session:
            return Counts(
                now=(await session.execute(select(clock()))).scalar_one(),
                released=[_waiting(row) for row in await session.execute(waiting(*RELEASED))],
                held=[_waiting(row) for row in await session.execute(waiting(*HELD))],
                running={
                    lane: jobs for lane, jobs in await session.execute(running.group_by(Job.lane))
                },
                batches=list(await session.scalars(open_batches)),
                suspensions=list(await session.scalars(standing)),
                processes=await session.scalar(alive) or 0,
            )


HELD = Job.state == JobState.QUEUED.value, Job.batch_id.is_(None), Job.held.is_(True)


def waiting(*where: ColumnElement[bool]) -> Select[str, int, int, datetime]:
    """Of the jobs for which that is true, by lane and whether they are due: as in `Waiting`."""
    accepted = case((Job.batch_id.is_(None), Job.created_at))
    since = func.coalesce(Job.scheduled_at, accepted).label("since")
    later = case((Job.scheduled_at > clock(), 1), else_=0).label("later")
    some = select(Job.lane, later, since).where(*where).limit(MOST).subquery()
    columns = some.c.lane, some.c.later, func.count(), func.min(some.c.since)
    return select(*columns).group_by(some.c.lane, some.c.later)


def _waiting(row: Row[str, int, int, datetime]) -> Waiting:
    lane, later, jobs, since = row
    return Waiting(lane, bool(later), jobs, since)
