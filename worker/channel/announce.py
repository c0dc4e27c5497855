"""Announcing what somebody else than the holder did to a job."""

from models import Job
from worker.channel.events import Retrying, encode
from worker.channel.log import Log, Mode, Write
from worker.channel.replay import end_of


async def announce_end(log: Log, job: Job, life_s: float) -> None:
    """Publish the closing event of a job whose terminal state is committed. Harmless twice."""
    end = end_of(job)
    await log.write(
        [
            Write(
                job=job.id,
                mode=Mode.END,
                entries=((end.id, encode(end)),),
                life_ms=int(life_s * 1000),
                closes=True,
            )
        ]
    )


async def announce_lost(log: Log, job: Job, life_s: float) -> None:
    """Tell readers that the job was taken back under a raised attempt: its text is void."""
    lost = Retrying(id=f"{job.attempt}-1", job=job.id, reason="lost")
    write = Write(
        job=job.id,
        mode=Mode.FIRST,
        entries=((lost.id, encode(lost)),),
        life_ms=int(life_s * 1000),
        opens=True,
    )
    await log.write([write])
