"""A reader of a job's channel, written from the wire contract alone.

It knows the event ids, `at`, and when text is void; it shares no code with the follower. Fed with
what a follower yields, it rebuilds the output and fails on whatever the contract forbids.
"""

import json
from typing import Any

TERMINAL = ("completed", "incomplete", "failed", "cancelled")


class Reader:
    """What one reader holds. A cursor is (attempt, offset); START has seen nothing."""

    def __init__(self, attempt: int = 0, offset: int = 0) -> None:
        self.attempt = attempt
        self.offset = offset
        # (choice, part) -> text; a tool call's part is its index.
        self.parts: dict[tuple[int, str], str] = {}
        self.names: dict[tuple[int, str], str] = {}
        self.types: list[str] = []
        # The characters heard, in the order published; the opening of a tool call is a NUL.
        self.flow = ""
        self.end: dict[str, Any] | None = None

    def hear(self, encoded: bytes) -> None:
        """Take one event in the shape of the pub/sub message."""
        event = json.loads(encoded)
        assert self.end is None, f"{event} after the end"
        attempt, offset = (int(number) for number in event["id"].split("-"))
        assert (attempt, offset) > (self.attempt, self.offset), f"{event['id']} does not rise"
        self.types.append(event["type"])
        getattr(self, event["type"], self._terminal)(event, attempt, offset)
        self.attempt, self.offset = attempt, offset

    def started(self, _event: dict[str, Any], attempt: int, offset: int) -> None:
        assert offset == 0
        assert attempt > self.attempt
        self._drop()

    def delta(self, event: dict[str, Any], attempt: int, offset: int) -> None:
        if event["at"] == 0 and self.attempt != attempt:
            self._drop()
        else:
            assert attempt == self.attempt
            assert event["at"] == self.offset, f"{event['at']} after {self.offset}"
        (part,) = {"text", "reasoning", "refusal", "tool_call"} & event.keys()
        key, text, opened = (event["choice"], part), event[part], False
        if part == "tool_call":
            call = event["tool_call"]
            key, text = (event["choice"], str(call["index"])), call.get("arguments", "")
            opened = "name" in call
            if opened:
                self.names[key] = call["name"]
        assert offset - event["at"] == len(text) + opened > 0
        self.parts[key] = self.parts.get(key, "") + text
        self.flow += "\0" * opened + text

    def retrying(self, event: dict[str, Any], attempt: int, offset: int) -> None:
        assert event["reason"] in {"error", "drained", "deferred", "lost"}
        assert attempt > self.attempt or offset == self.offset + 1
        self._drop()

    def _terminal(self, event: dict[str, Any], attempt: int, offset: int) -> None:
        assert event["type"] in TERMINAL
        assert offset == event["length"] + 1
        if attempt > self.attempt:
            self._drop()
            assert event["length"] == 0
        else:
            assert offset == self.offset + 1
        self.end = event

    def _drop(self) -> None:
        self.parts, self.names, self.flow, self.offset = {}, {}, "", 0

    @property
    def cursor(self) -> tuple[int, int]:
        """Where it stands."""
        return self.attempt, self.offset
