"""What a log says of an attempt whose holder can write no row of it any more."""

from collections.abc import Sequence

from models import Attempt, Job
from worker.channel.events import START, ChannelEvent, Delta, Started, extent
from worker.channel.log import Log
from worker.channel.replay import TOOL_CALL


async def lost_attempt(log: Log, job: Job, code: str) -> Attempt | None:
    """The row of the attempt before the job's, which was raised over its holder's head.

    Args:
        log: where the raised attempt is announced already: the holder cannot add to it.
        job: its row.
        code: why the attempt came to nothing.

    Returns:
        The row, but for its moments; None where the log knows of no request.

    Raises:
        RedisError, OSError: Redis is away.
    """
    number = job.attempt - 1
    events = await log.read(job.id, START) or []
    mine = [event for event in events if event.cursor.attempt == number]
    begun = [event for event in mine if isinstance(event, Started)]
    if not begun:
        return None
    parts = _parts(mine)
    return Attempt(
        job_id=job.id,
        number=number,
        upstream=begun[-1].upstream,
        parts=parts,
        length=sum(length for _, _, length in parts),
        error_code=code,
    )


def _parts(events: Sequence[ChannelEvent]) -> list[tuple[int, str, int]]:
    """The runs, as the transcript would have kept them."""
    runs: list[tuple[int, str, int]] = []
    for event in events:
        if isinstance(event, Delta):
            choice, part, length = event.choice, part_of(event), extent(event)
            if runs and runs[-1][:2] == (choice, part):
                length += runs.pop()[2]
            runs.append((choice, part, length))
    return runs


def part_of(delta: Delta) -> str:
    """The part that the delta belongs to, as the runs of a row name it."""
    if delta.tool_call is not None:
        return f"{TOOL_CALL}{delta.tool_call.index}"
    if delta.reasoning is not None:
        return "reasoning"
    return "text" if delta.refusal is None else "refusal"
