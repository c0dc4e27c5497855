"""Worker processes as an operator sees them: who is alive, what each holds, who is to end."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select, update

from models import Job, JobState, Process, clock
from worker.store.side import Side, unbroken


class Present(NamedTuple):
    """A worker process that has not left.

    Attributes:
        owner: its name in leases: host, process id, and what makes it unlike any other.
        alive: whether its lease lives; else it has died, or cannot reach the database.
        drain_at: when it was told to end, by command.
        bulk_slots: how many bulk jobs it is ready for; 0 where it serves none, or ends.
        jobs: how many it holds.
    """

    owner: str
    alive: bool
    drain_at: datetime | None
    bulk_slots: int
    jobs: int


class Processes(Side):
    """The operator's side of the table of processes. Every method is one short transaction."""

    @unbroken
    async def all(self) -> Sequence[Present]:
        """All that have not left, by name."""
        held = (
            select(Job.lease_owner, func.count().label("jobs"))
            .where(Job.state == JobState.IN_PROGRESS.value, Job.lease_owner.is_not(None))
            .group_by(Job.lease_owner)
            .subquery()
        )
        alive, jobs = Process.lease_until > clock(), func.coalesce(held.c.jobs, 0)
        query = select(Process.owner, alive, Process.drain_at, Process.bulk_slots, jobs)
        query = query.outerjoin(held, held.c.lease_owner == Process.owner).order_by(Process.owner)
        async with self._session() as session:
            rows = (await session.execute(query)).all()
        return [Present(row[0], bool(row[1]), row[2], row[3], row[4]) for row in rows]

    @unbroken
    async def drain(self, owners: Collection[str]) -> None:
        """Tell these processes to end: each hears of it when it next renews its lease."""
        told = update(Process).where(Process.owner.in_(owners), Process.drain_at.is_(None))
        async with self._session() as session:
            await session.execute(told.values(drain_at=clock()))
