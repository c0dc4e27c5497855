"""The events of a job that has ended, made anew from its row, from any cursor on."""

from collections import defaultdict
from collections.abc import Iterator

import msgspec

from models import Job
from worker.channel.events import (
    ENDS,
    ChannelEvent,
    Cursor,
    Delta,
    Ending,
    Failure,
    Started,
    ToolCall,
    extent,
    tail,
)
from worker.errors import InvalidCursor

TOOL_CALL = "tool_call:"
# Above any index of a tool call.
MANY = 1 << 31


class _Function(msgspec.Struct):
    name: str
    arguments: str


class _Call(msgspec.Struct):
    function: _Function
    id: str | None = None


class _Message(msgspec.Struct):
    tool_calls: list[_Call]


def end_of(job: Job, extra: dict[int, dict[str, object]] | None = None) -> Ending:
    """The closing event of a job in a terminal state."""
    error = None
    if job.error_category:
        error = Failure(job.error_category, job.error_code, job.error_status, job.error_message)
    return ENDS[job.state](
        id=str(end_cursor(job)),
        job=job.id,
        length=job.length,
        finish_reason=job.finish_reason,
        usage=job.usage,
        error=error,
        extra=extra,
    )


def end_cursor(job: Job) -> Cursor:
    """The id of the closing event of a job in a terminal state."""
    return Cursor(job.attempt, job.length + 1)


def replay(job: Job, after: Cursor) -> Iterator[ChannelEvent]:
    """What a reader at `after` has still to hear of a job in a terminal state.

    Raises:
        InvalidCursor: the cursor lies beyond the end.
    """
    end = end_cursor(job)
    if after > end:
        raise InvalidCursor(f"cursor: {after} lies beyond the end of the job, {end}; start over")
    if after == end:
        return
    offset = after.offset
    if after.attempt < job.attempt:
        offset = 0
        if job.length:
            yield Started(
                id=f"{job.attempt}-0", job=job.id, upstream=job.upstream or "", model=job.model
            )
    for delta in deltas(job):
        missing = delta.cursor.offset - offset
        if missing > 0:
            yield tail(delta, missing) if missing < extent(delta) else delta
    yield end_of(job)


def deltas(job: Job) -> Iterator[Delta]:
    """The job's saved output as deltas, one for each run, in the order published."""
    at = 0
    begins: dict[tuple[int, str], int] = defaultdict(int)
    runs = job.parts or ([(0, "text", job.length)] if job.length else [])
    parts = {(choice, part) for choice, part, _ in runs}
    for choice, part, length in runs:
        begin = begins[choice, part]
        begins[choice, part] += length
        message = _message(job, choice)
        rank = sum(1 for other in parts if other[0] == choice and _index(other[1]) < _index(part))
        yield Delta(
            id=f"{job.attempt}-{at + length}",
            job=job.id,
            at=at,
            choice=choice,
            **_piece(message, part, rank, begin, length),  # type: ignore[arg-type]
        )
        at += length


def _index(part: str) -> int:
    """A tool call's index; for another part, one that is lower than no call's."""
    return int(part.removeprefix(TOOL_CALL)) if part.startswith(TOOL_CALL) else MANY


def _piece(
    message: dict[str, object], part: str, rank: int, begin: int, length: int
) -> dict[str, object]:
    """The characters `begin` to `begin + length` of a part, as a delta's field."""
    if not part.startswith(TOOL_CALL):
        text = message.get("content" if part == "text" else part)
        return {part: str(text)[begin : begin + length]}
    call = msgspec.convert(message, _Message).tool_calls[rank]
    # The opening counts one, so the arguments lie one further on.
    arguments = call.function.arguments[max(begin - 1, 0) : begin - 1 + length]
    opening = {"id": call.id, "name": call.function.name} if begin == 0 else {}
    return {"tool_call": ToolCall(_index(part), arguments=arguments, **opening)}


def _message(job: Job, choice: int) -> dict[str, object]:
    found = (message for message in job.output or [] if message.get("index") == choice)
    return next(found, {"content": job.output_text or ""})
