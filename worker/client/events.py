"""The events of a job, as `follow` yields them. Their ids are cursors: `<attempt>-<offset>`.

Started, Retrying    the text so far is void
Delta                a piece to append
Completed, Incomplete, Failed, Cancelled
                     the end, once; all four are an `End`

`Transcript` applies these rules. Fields that this version does not know are left out, and so are
events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, NamedTuple

from worker.client.errors import InvalidCursor


class Place(NamedTuple):
    """A cursor taken apart: attempt, and characters of it already seen."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.offset}"


START = Place(0, 0)


def place_of(cursor: str) -> Place:
    """The place that a cursor spells.

    Raises:
        InvalidCursor: it is none.
    """
    attempt, _, offset = cursor.partition("-")
    if not (cursor.isascii() and attempt.isdecimal() and offset.isdecimal()):
        raise InvalidCursor(
            f"after: {cursor[:40]!r} is no cursor; give the id of an event",
            status=400,
            code="invalid_cursor",
            param="after",
        )
    return Place(int(attempt[:15]), int(offset[:15]))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A tool call, or a piece of one; a piece has a `name` only where it opens the call."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job failed. `message` is the upstream's own words."""

    category: str
    code: str | None = None
    status: int | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have: `id` is the reader's cursor after the event."""

    type: ClassVar[str]
    id: str
    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Event):
    """A request goes to the upstream; text of earlier attempts is void."""

    type: ClassVar[str] = "started"
    upstream: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta(Event):
    """A piece of the output: exactly one of the four parts.

    Attributes:
        at: the attempt's characters before this piece, over all choices and parts.
        choice: which of the `n` choices it belongs to.
        extra: what the upstream sent beside it, as logprobs.
    """

    type: ClassVar[str] = "delta"
    at: int
    choice: int
    text: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_call: ToolCall | None = None
    extra: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrying(Event):
    """The attempt is over and its text void; another follows.

    Attributes:
        reason: error, drained, deferred or lost.
        code, category: of the error, where that was the reason.
        wait_s: seconds until the next attempt, where that is known.
        scheduled_at: when the next attempt is due, where the job went back to the queue.
    """

    type: ClassVar[str] = "retrying"
    reason: str
    code: str | None = None
    category: str | None = None
    wait_s: float | None = None
    scheduled_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End(Event):
    """What the four ends have.

    Attributes:
        length: characters of all parts of the saved output.
        extra: what the upstream sent without any text after the last delta, by the choice's index
            as a text.
    """

    length: int
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    error: Failure | None = None
    extra: Mapping[str, Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(End):
    """The end is proven; the text is saved."""

    type: ClassVar[str] = "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Incomplete(End):
    """Proven, but cut by the model's length limit or a content filter."""

    type: ClassVar[str] = "incomplete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(End):
    """No further attempt will be made."""

    type: ClassVar[str] = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled(End):
    """Somebody cancelled the job; its output is empty."""

    type: ClassVar[str] = "cancelled"


_KINDS: dict[str, type[Event]] = {
    kind.type: kind for kind in (Started, Delta, Retrying, Completed, Incomplete, Failed, Cancelled)
}


def _known(kind: type[Any], document: Mapping[str, Any]) -> dict[str, Any]:
    names = (field.name for field in fields(kind))
    return {name: document[name] for name in names if name in document}


_READERS: dict[str, Callable[[Any], object]] = {
    "tool_call": lambda given: ToolCall(**_known(ToolCall, given)),
    "error": lambda given: Failure(**_known(Failure, given)),
    "scheduled_at": datetime.fromisoformat,
}


def event_of(document: Mapping[str, Any]) -> Event | None:
    """The event that a JSON object is; None where this version does not know its type.

    Raises:
        LookupError, TypeError, ValueError: it is no event at all.
    """
    kind = _KINDS.get(document["type"])
    if kind is None:
        return None
    known = _known(kind, document)
    for name in _READERS.keys() & known:
        if known[name] is not None:
            known[name] = _READERS[name](known[name])
    return kind(**known)
