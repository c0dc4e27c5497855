"""What a response does, one step at a time.

A response is an iterator of steps; the player pulls them and acts. A healthy completion and a
broken one differ only in their steps, so a fault is a function from steps to steps.
"""

from collections.abc import Callable, Iterator
from enum import StrEnum

import msgspec

Part = tuple[int, str]
"""Where a piece of the output belongs: the choice and its channel (`content`, `reasoning`,
`refusal`, `tool_calls.0.arguments`)."""


class Head(msgspec.Struct, frozen=True):
    """Status line and headers.

    `length` is the body's in bytes; None is a chunked body, or with `until_close` one that ends
    where the connection ends.
    """

    status: int
    headers: dict[str, str]
    length: int | None = None
    until_close: bool = False


class Event(msgspec.Struct, frozen=True, gc=False):
    """Bytes of the body, written as one chunk in one write.

    An event with a `part` is a delta: `text` is what it adds to the ground truth there. `finish` is
    the finish_reason it brings, with its choice.
    """

    data: bytes
    part: Part | None = None
    text: str = ""
    finish: tuple[int, str] | None = None


class Wait(msgspec.Struct, frozen=True):
    """Time to the next step, counted from when this one was due, so that pacing never drifts."""

    seconds: float


class Flush(msgspec.Struct, frozen=True):
    """Return to the event loop, so that what was written leaves in a packet of its own."""


class End(StrEnum):
    """How the response stops; running out of steps is `CLEAN`."""

    CLEAN = "clean"
    """The body ends as HTTP demands, and the connection lives on."""
    FIN = "fin"
    """The connection is closed, whatever the body still owes."""
    RST = "rst"
    """The connection is reset: SO_LINGER 0."""
    CLIENT = "client"
    """The client closed first. Only the record uses it."""
    SHUTDOWN = "shutdown"
    """The simulator was stopped. Only the record uses it."""


Step = Head | Event | Wait | Flush | End
Steps = Iterator[Step]

FLUSH = Flush()


def until_delta(steps: Steps, count: int) -> Steps:
    """Pass on the steps up to and including delta number `count`; the rest stays in `steps`.

    For a count of 0 it stops behind the head, before any event.
    """
    seen = 0
    for step in steps:
        yield step
        if count == 0 and isinstance(step, Head):
            return
        if isinstance(step, Event) and step.part is not None:
            seen += 1
            if seen == count:
                return


def map_events(steps: Steps, change: Callable[[bytes], bytes]) -> Steps:
    """The same steps with the bytes of every event changed."""
    for step in steps:
        if isinstance(step, Event):
            yield msgspec.structs.replace(step, data=change(step.data))
        else:
            yield step


def document(status: int, body: bytes, headers: dict[str, str] | None = None) -> Steps:
    """A whole response with a body of known length; JSON unless `headers` say otherwise."""
    yield Head(status, {"content-type": "application/json", **(headers or {})}, length=len(body))
    yield Event(body)
