"""Erasing an ended job's content: from its log first, so that what fails leaves it all there."""

from redis.exceptions import RedisError

from models import Job, JobState
from worker.channel.log import Log
from worker.errors import ChannelAway, Conflict
from worker.store import Jobs


async def erase(job: Job, jobs: Jobs, log: Log) -> Job:
    """Remove what the job was asked and what it said; that it was stays.

    Raises:
        Conflict: it has not ended.
        ChannelAway: its log cannot be removed now. Nothing was.
        StoreAway: its row cannot be. The same again finishes it.
    """
    if not JobState(job.state).terminal:
        raise Conflict(f"job {job.id}: is {job.state}; cancel it before its content is erased")
    try:
        await log.erase(job.id)
    except (RedisError, OSError) as error:
        kind = type(error).__name__
        raise ChannelAway(f"Redis does not answer ({kind}); erase it again later") from None
    return await jobs.erase(job.id)
