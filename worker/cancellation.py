"""Cancelling a job: one statement decides, then everybody is told."""

import logging

from redis.exceptions import RedisError

from models import Job
from worker.catalog import Catalog
from worker.channel.announce import announce_end
from worker.channel.log import Log
from worker.channel.lost import lost_attempt
from worker.costs import spent_on_lost
from worker.errors import StoreAway
from worker.settings import Settings
from worker.store import Jobs
from worker.transitions import Step, tell

logger = logging.getLogger(__name__)


async def cancel(
    id: str, jobs: Jobs, log: Log, settings: Settings, catalog: Catalog
) -> tuple[Job, bool]:
    """Cancel the job unless it has ended. Its attempt is raised, so its holder has lost it.

    Args:
        id: the job.
        jobs, log, settings: the caller's.
        catalog: for what the cancelled attempt has cost so far.

    Returns:
        The job as it stands now, and whether this call cancelled it.

    Raises:
        JobNotFound: no job has this id.
    """
    job, cancelled = await jobs.cancel(id)
    if cancelled:
        tell(Step.SETTLED, job)
        try:
            await announce(job, log, settings)
        except (RedisError, OSError) as error:
            # Readers ask the database, and the holder loses at its next renewal.
            logger.warning("job %s: cancelled, not announced: %s", id, type(error).__name__)
        else:
            await keep_lost(job, jobs, log, catalog)
    return job, cancelled


async def announce(job: Job, log: Log, settings: Settings) -> None:
    """Tell readers and the holder of a job that was ended over the holder's head.

    Raises:
        RedisError, OSError: Redis is away.
    """
    await announce_end(log, job, settings.closed_log_life_s(job.lane))
    await log.stop(job.id)


async def keep_lost(job: Job, jobs: Jobs, log: Log, catalog: Catalog) -> None:
    """Keep the row of the attempt that was cancelled over its holder's head, once that is
    announced, and what it has cost.
    """
    try:
        if lost := await lost_attempt(log, job, "cancelled"):
            spent = spent_on_lost(catalog, job, lost)
            await jobs.keep_lost(lost, spent)
            tell(Step.KEPT, job, record=lost, spent=spent)
    except (RedisError, OSError, StoreAway) as error:
        logger.warning("job %s: its last attempt has no row: %s", job.id, type(error).__name__)
