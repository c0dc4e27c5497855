"""Server-sent events as a browser reads them, by the letter of the HTML standard."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, NamedTuple


class Frame(NamedTuple):
    """One event: its id, its name, and its data."""

    id: str
    event: str
    data: Any


class Parser:
    """Takes lines; `retry_ms` and `comments` are what else was said."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.comments = 0
        self._fields: dict[str, str] = {}

    def take(self, line: str) -> Frame | None:
        """The event that the line completes, if it does."""
        if line:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            self.comments += name == ""
            if name == "retry":
                self.retry_ms = int(value)
            elif name:
                assert name not in self._fields, f"{name} twice in one event"
                self._fields[name] = value
            return None
        fields, self._fields = self._fields, {}
        if "data" not in fields:
            return None
        return Frame(fields.get("id", ""), fields.get("event", ""), json.loads(fields["data"]))


def frames_of(body: bytes) -> list[Frame]:
    """The events of a whole response, which ends between two of them."""
    assert body.endswith(b"\n\n"), body[-200:]
    parser = Parser()
    return [frame for line in body.decode().split("\n") if (frame := parser.take(line))]


async def frames(
    lines: AsyncIterator[str], parser: Parser | None = None
) -> AsyncGenerator[Frame, None]:
    """The events as they come."""
    parser = parser or Parser()
    async for line in lines:
        if frame := parser.take(line.rstrip("\r\n")):
            yield frame


def text_of(frames: Iterable[Frame]) -> str:
    """Choice 0's text, as who hears these events holds it."""
    text = ""
    for frame in frames:
        if frame.event == "started":
            text = ""
        elif frame.event == "delta" and frame.data.get("choice", 0) == 0:
            text += frame.data.get("text") or ""
    return text
