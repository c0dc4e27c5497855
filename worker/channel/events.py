"""The events of a job's channel: wire contract version 1.

Each is one JSON object, `type` first. Its id, `<attempt>-<offset>`, is the reader's cursor:

    started     N-0            drop all earlier text
    delta       N-offset       append; `at` is the offset before it, 0 replaces
    retrying    N-(offset+1)   the attempt's last entry: its text is void, stay
    completed, incomplete, failed, cancelled
                N-(length+1)   the end; a higher attempt than the reader's voids its text

An offset counts the Unicode code points of every part of the output that the attempt has
published, in order; the opening of a tool call counts one.
"""

import re
from datetime import datetime
from typing import NamedTuple

import msgspec

from worker.errors import InvalidCursor

_CURSOR = re.compile(r"(\d{1,15})-(\d{1,15})", re.ASCII)


class Cursor(NamedTuple):
    """A place in a job's output: attempt, and characters of it already seen."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.offset}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that an event's id spells.

        Raises:
            InvalidCursor: it is not `<attempt>-<offset>`.
        """
        found = _CURSOR.fullmatch(text)
        if not found:
            raise InvalidCursor(
                f"cursor: {text[:40]!r} is not <attempt>-<offset>; use an event's id"
            )
        return cls(int(found[1]), int(found[2]))


START = Cursor(0, 0)


class ToolCall(msgspec.Struct, frozen=True, omit_defaults=True):
    """A piece of a tool call; `name` only on the piece that opens it, which counts one more."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What all events have."""

    id: str
    job: str

    @property
    def cursor(self) -> Cursor:
        """The reader's place after this event."""
        attempt, _, offset = self.id.partition("-")
        return Cursor(int(attempt), int(offset))


class Started(Event, frozen=True, tag="started"):
    """A request goes to the upstream; text of earlier attempts is void."""

    upstream: str
    model: str


class Delta(Event, frozen=True, tag="delta", omit_defaults=True):
    """A piece of one run of the output: exactly one of the four parts, or `extra` beside it."""

    at: int
    choice: int
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_call: ToolCall | None = None
    extra: dict[str, object] | None = None


class Retrying(Event, frozen=True, tag="retrying", omit_defaults=True):
    """The attempt is over, the job is not. `reason`: error, drained, deferred or lost."""

    reason: str
    code: str | None = None
    category: str | None = None
    wait_s: float | None = None
    scheduled_at: datetime | None = None


class Failure(msgspec.Struct, frozen=True):
    """Why a job failed, as its row has it."""

    category: str
    code: str | None
    status: int | None
    message: str | None


class End(Event, frozen=True):
    """What the four ends have. `length` counts all parts of the saved output.

    `extra` is, by choice, what the upstream sent without any character after the last delta.
    """

    length: int
    finish_reason: str | None = None
    usage: dict[str, object] | None = None
    error: Failure | None = None
    extra: dict[int, dict[str, object]] | None = None


class Completed(End, frozen=True, tag="completed"):
    """The end is proven; the text is saved."""


class Incomplete(End, frozen=True, tag="incomplete"):
    """Proven, but cut by the model's length limit or a content filter."""


class Failed(End, frozen=True, tag="failed"):
    """No further attempt will be made."""


class Cancelled(End, frozen=True, tag="cancelled"):
    """Somebody cancelled the job; its output is empty."""


Ending = Completed | Incomplete | Failed | Cancelled

ENDS: dict[str, type[Completed | Incomplete | Failed | Cancelled]] = {
    "completed": Completed,
    "incomplete": Incomplete,
    "failed": Failed,
    "cancelled": Cancelled,
}

ChannelEvent = Started | Delta | Retrying | Ending

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(ChannelEvent).decode


def extent(delta: Delta) -> int:
    """How many characters the delta counts."""
    if delta.tool_call is not None:
        return len(delta.tool_call.arguments) + (delta.tool_call.name is not None)
    return len(delta.text or delta.reasoning or delta.refusal or "")


def tail(delta: Delta, count: int) -> Delta:
    """The delta's last `count` characters, as a delta of its own; `extra` stays behind."""
    at = delta.at + extent(delta) - count
    call = delta.tool_call
    if call is not None:
        arguments = call.arguments[len(call.arguments) - count :]
        rest = ToolCall(call.index, arguments=arguments)
        return msgspec.structs.replace(delta, at=at, tool_call=rest, extra=None)
    part = next(part for part in ("text", "reasoning", "refusal") if getattr(delta, part))
    return msgspec.structs.replace(
        delta, at=at, extra=None, **{part: getattr(delta, part)[-count:]}
    )
