"""Whom the death of a process is charged to.

A process that dies is charged to the suspect it ran, else once to each job it held. From two
charges on a job is a suspect; a process runs one at a time; the third charge is its last. Where
processes die without a suspect, or without any job, or where suspects live to their end, something
else kills: then no suspect is charged.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import case, delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from models import ANSWERED, Death, Job, JobState, Process, clock
from worker.store.engine import insert_into

# Charges that make a suspect, and that end the job.
SUSPECT_AT = 2
POISON_AT = 3
# So many signs of another cause, and the fleet is sick.
SICK_AT = 2


class Lost(NamedTuple):
    """A job whose holder let the lease expire."""

    id: str
    owner: str
    crashes: int


async def charged(
    session: AsyncSession, lost: Sequence[Lost], remembered_s: float
) -> frozenset[str]:
    """Record the deaths that the lost jobs tell of; the ids of those that are charged.

    Belongs into the transaction that takes the jobs back, before they lose their owner.

    Args:
        session: in a transaction that has locked the jobs' rows.
        lost: jobs of any number of processes.
        remembered_s: how long a death counts, in seconds; older ones are removed.
    """
    await session.execute(delete(Death).where(Death.at <= clock(-remembered_s)))
    await _record(session, {job.owner for job in lost})
    deaths = {death.owner: death for death in await session.scalars(select(Death))}
    cleared = await _cleared(session, remembered_s)
    return frozenset(job.id for job in lost if _is_charged(job, deaths, cleared))


async def _cleared(session: AsyncSession, remembered_s: float) -> int:
    """How many suspects have come to a proven end; not counted beyond what matters."""
    some = (
        select(Job.id)
        .where(Job.crashes >= SUSPECT_AT, Job.finished_at > clock(-remembered_s))
        .where(Job.state.in_(ANSWERED))
        .limit(SICK_AT)
    )
    return len((await session.scalars(some)).all())


def _is_charged(job: Lost, deaths: Mapping[str, Death], cleared: int) -> bool:
    death = deaths.get(job.owner)
    suspect = None if death is None else death.suspect
    if suspect not in (None, job.id):
        return False
    if job.crashes < SUSPECT_AT:
        return True
    # Neither its own process's death says anything for it, nor those of which it was alone aboard.
    others = [
        other
        for other in deaths.values()
        if other.suspect is None and other.only != job.id and other.owner != job.owner
    ]
    return len(others) + cleared < SICK_AT


async def notice(session: AsyncSession) -> Sequence[str]:
    """Record the deaths of all processes whose own lease expired, jobs or none; their names."""
    gone = delete(Process).where(Process.lease_until <= clock()).returning(Process.owner)
    owners = sorted(await session.scalars(gone))
    if owners:
        await _record(session, owners)
        idle = [{"owner": owner, "at": clock()} for owner in owners]
        recorded = insert_into(session, Death).values(idle)
        await session.execute(recorded.on_conflict_do_nothing())
    return owners


async def _record(session: AsyncSession, owners: Iterable[str]) -> None:
    """A row for each owner that has none yet; another sweep's, made meanwhile, stands.

    A process may have been taken for dead, when it was only late, and have lived on: then the
    suspect that it runs now is the row's.
    """
    suspect = case((Job.crashes >= SUSPECT_AT, Job.id))
    sole = case((func.count() == 1, func.min(Job.id)))
    aboard = (
        select(Job.lease_owner, clock(), func.min(suspect), sole)
        .where(Job.state == JobState.IN_PROGRESS.value, Job.lease_owner.in_(list(owners)))
        .group_by(Job.lease_owner)
        # Two sweeps that meet wait for one another in the same order.
        .order_by(Job.lease_owner)
    )
    recorded = insert_into(session, Death).from_select(["owner", "at", "suspect", "only"], aboard)
    first = func.coalesce(Death.suspect, recorded.excluded.suspect)
    await session.execute(
        recorded.on_conflict_do_update(index_elements=[Death.owner], set_={"suspect": first})
    )
