"""What the simulator wrote, and when: the one count that all systems are measured against."""

import time
from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate

import httpx
import msgspec

from worker.simulator.completion import Completion
from worker.simulator.request import parse_request
from worker.simulator.script import parse_model
from worker.simulator.steps import Event

MESSAGES = [{"role": "user", "content": "Write something long."}]


# How long the simulator may take to answer while it writes all it can.
ANSWER_S = 60.0


class Served(msgspec.Struct, frozen=True):
    """One request: how many deltas it was answered with, and number and time in ns of each."""

    job: str | None
    deltas: int
    times: list[tuple[int, int]]


class _Records(msgspec.Struct):
    data: list[Served]


def model(tokens: int, rate: float, wait_s: float = 0.0) -> str:
    """The model that waits, and streams so many tokens, one delta and one write each, at a rate."""
    return f"sim?tokens={tokens}&rate={rate:g}&ttft={wait_s:g}&record=times"


class Upstream:
    """The simulator of one measurement, whose requests all ask for the same text."""

    def __init__(self, base_url: str, model: str) -> None:
        self._root = base_url.removesuffix("/v1")
        # Characters after each delta. The text depends on nothing but model and messages.
        self._offsets = list(accumulate(_lengths(model)))

    def open(self) -> int:
        """How many responses are being written."""
        return int(httpx.get(f"{self._root}/record/summary", timeout=ANSWER_S).json()["open"])

    def await_open(self, streams: int, timeout_s: float) -> int:
        """Wait until so many are open; how many are, where that takes longer than the timeout, or
        where the first end before the last begin.
        """
        deadline, most = time.monotonic() + timeout_s, 0
        while most <= (found := self.open()) < streams and time.monotonic() < deadline:
            most = found
            time.sleep(0.05)
        return found

    def served(self) -> list[Served]:
        """The record: every request with the time of each write."""
        records = httpx.get(f"{self._root}/record", timeout=ANSWER_S)
        found = msgspec.json.decode(records.content, type=_Records).data
        return [request for request in found if request.times]

    @property
    def characters(self) -> int:
        """Of the whole text."""
        return self._offsets[-1]

    def deltas_until(self, offset: int) -> int:
        """How many deltas of the text lie before the offset, in characters."""
        return bisect_right(self._offsets, offset)


def written_between(served: list[Served], start_ns: int, end_ns: int) -> int:
    """How many deltas the simulator wrote within a window of wall-clock time."""
    return sum(
        start_ns <= written_ns < end_ns for request in served for _, written_ns in request.times
    )


def _lengths(model: str) -> Iterator[int]:
    body = {"model": model, "messages": MESSAGES, "stream": True}
    request = parse_request(msgspec.json.encode(body))
    for step in Completion(request, parse_model(model), {}).steps():
        if isinstance(step, Event) and step.part is not None:
            yield len(step.text)
