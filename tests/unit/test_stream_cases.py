"""Every recorded stream gives what it should, however its bytes were split on the way."""

import base64
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from worker.classify import is_transient
from worker.errors import UpstreamError
from worker.stream.body import BodyDecoder
from worker.stream.chunks import DONE, Origin, decode
from worker.stream.sse import Event
from worker.stream.transcript import Transcript

FIXTURES = Path(__file__).parent.parent / "fixtures" / "stream_cases.json"
CASES = {case["id"]: case for case in json.loads(FIXTURES.read_text("utf-8"))["cases"]}
# The decoder sees how far the bytes go, not how the connection was closed.
SEEN_AS = {"transport_error": "truncated"}


class Attempt:
    """The way one response takes: bytes, events, chunks, transcript, verdict."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.body = BodyDecoder()
        self.origin = Origin(case["status"], case["headers"])
        self.transcript = Transcript()
        self.done = False
        self.error: UpstreamError | None = None

    def run(self, pieces: list[bytes]) -> "Attempt":
        try:
            for piece in pieces:
                self.take(self.body.feed(piece))
            self.take(self.body.flush())
        except UpstreamError as error:
            self.error = error
        self.transcript.close()
        return self

    def take(self, events: list[Event]) -> None:
        for event in events:
            chunk = decode(event, self.origin)
            if chunk is DONE:
                self.done = True
            elif chunk is not None:
                self.transcript.apply(chunk)

    @property
    def outcome(self) -> str:
        return "error" if self.error else self.transcript.verdict(self.done)


def check(attempt: Attempt, expect: dict[str, Any]) -> None:
    transcript = attempt.transcript
    assert attempt.outcome == SEEN_AS.get(expect["outcome"], expect["outcome"])
    assert transcript.output_text == expect["text"]
    if expect["outcome"].startswith("complete"):
        assert transcript.finish_reason == expect["finish_reason"]
    if attempt.error is not None:
        assert attempt.error.code == expect["error_code"]
        assert is_transient(attempt.error) == expect["retryable"]
        assert attempt.error.retry_after_s == expect.get("wait_s")
    if "usage" in expect:
        assert transcript.usage == expect["usage"]
    if "reasoning" in expect:
        assert transcript.output()[0]["reasoning"] == expect["reasoning"]
    if "tool_calls" in expect:
        assert calls_of(transcript) == expect["tool_calls"]


def calls_of(transcript: Transcript) -> list[dict[str, object]]:
    calls: Any = transcript.output()[0]["tool_calls"]
    return [{"id": call["id"], **call["function"]} for call in calls]


def splits_of(body: bytes) -> list[list[bytes]]:
    by_size = [[body[at : at + size] for at in range(0, len(body), size)] for size in (1, 3, 64)]
    return [[body], *by_size, *([body[:at], body[at:]] for at in range(1, len(body)))]


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_stream_gives_the_same_at_every_split_point(name: str) -> None:
    case = CASES[name]
    for pieces in splits_of(base64.b64decode(case["body_base64"])):
        check(Attempt(case).run(pieces), case["expect"])


@pytest.mark.parametrize("name", CASES)
def test_the_pieces_of_a_recorded_stream_are_its_output(name: str) -> None:
    case = CASES[name]
    transcript = Attempt(case).run([base64.b64decode(case["body_base64"])]).transcript
    pieces = transcript.take()
    assert pieces == transcript.replay()
    assert [piece.at for piece in pieces] == [0, *(piece.end for piece in pieces)][: len(pieces)]
    text = "".join(piece.text for piece in pieces if (piece.choice, piece.part) == (0, "text"))
    assert text == case["expect"]["text"]


@pytest.mark.parametrize("name", CASES)
def test_a_recorded_stream_cut_anywhere_is_never_complete_before_its_finish_reason(
    name: str,
) -> None:
    case = CASES[name]
    body = base64.b64decode(case["body_base64"])
    outcomes = [Attempt(case).run([body[:end]]).outcome for end in range(len(body) + 1)]
    # However much is missing, the verdict only ever gets better, until the last word.
    for earlier, later in pairwise(outcomes):
        assert earlier in (later, "truncated") or later == "error"
