"""The client's events are the wire contract's, and its transcript applies the contract's rules."""

import json
from dataclasses import asdict, fields
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.channel import events as wire
from worker.client import (
    Cancelled,
    Completed,
    Delta,
    Event,
    Retrying,
    Started,
    ToolCall,
    Transcript,
)
from worker.client.events import event_of

JOB = "job_0123456789abcdef"

CASES: list[wire.ChannelEvent] = [
    wire.Started(id="2-0", job=JOB, upstream="openai", model="gpt"),
    wire.Delta(id="2-5", job=JOB, at=0, choice=0, text="Hello", extra={"logprobs": {}}),
    wire.Delta(id="2-6", job=JOB, at=5, choice=1, tool_call=wire.ToolCall(0, "call_1", "look")),
    wire.Retrying(id="2-7", job=JOB, reason="lost"),
    wire.Retrying(
        id="2-7", job=JOB, reason="error", code="502", category="server", wait_s=1.5,
        scheduled_at=datetime(2030, 1, 2, tzinfo=UTC),
    ),
    wire.Completed(id="2-7", job=JOB, length=6, finish_reason="stop", usage={"total_tokens": 3}),
    wire.Incomplete(id="2-7", job=JOB, length=6, finish_reason="length"),
    wire.Failed(id="2-7", job=JOB, length=6, error=wire.Failure("server", "500", 500, "broken")),
    wire.Cancelled(id="3-1", job=JOB, length=0),
]  # fmt: skip


def parsed(event: wire.ChannelEvent, **more: object) -> Event:
    found = event_of({**json.loads(wire.encode(event)), **more})
    assert found is not None
    return found


@pytest.mark.parametrize("event", CASES, ids=lambda event: type(event).__name__)
def test_an_event_is_read_as_it_was_written_whatever_a_later_version_adds(
    event: wire.ChannelEvent,
) -> None:
    found = parsed(event, something={"new": True})
    plain = {**msgspec.structs.asdict(event)}
    for name in ("error", "tool_call"):
        if plain.get(name) is not None:
            plain[name] = msgspec.structs.asdict(plain[name])
    assert asdict(found) == plain
    assert (type(found).__name__, found.type) == (
        type(event).__name__,
        type(event).__name__.lower(),
    )


def test_the_client_knows_every_field_of_every_event() -> None:
    for event in CASES:
        known = {field.name for field in fields(parsed(event))}
        assert known == set(event.__struct_fields__)


def test_an_event_of_a_later_version_is_none_yet_and_what_is_no_event_is_an_error() -> None:
    assert event_of({"type": "paused", "id": "1-1", "job": JOB}) is None
    broken: list[Any] = [{}, {"type": "delta"}, {"type": "failed", "error": 3}, [], "x"]
    for document in broken:
        with pytest.raises((LookupError, TypeError, ValueError)):
            event_of(document)


def delta(id: str, at: int, text: str = "", **part: Any) -> Delta:
    return Delta(id=id, job=JOB, at=at, **{"choice": 0, "text": text or None, **part})


def started(attempt: int) -> Started:
    return Started(id=f"{attempt}-0", job=JOB, upstream="u", model="m")


def test_text_of_an_attempt_that_came_to_nothing_is_dropped() -> None:
    transcript = Transcript()
    for event in (started(1), delta("1-5", 0, "Hello")):
        transcript.apply(event)
    assert transcript.text == "Hello"
    transcript.apply(Retrying(id="1-6", job=JOB, reason="error"))
    assert transcript.text == "" and transcript.choices == {}
    for event in (started(2), delta("2-2", 0, "Hi"), delta("2-3", 2, "!")):
        transcript.apply(event)
    assert (transcript.text, transcript.cursor) == ("Hi!", "2-3")


def test_a_higher_attempt_voids_the_text_however_it_comes() -> None:
    ways: list[tuple[Event, str]] = [
        (started(2), ""),
        (delta("2-2", 0, "Hi"), "Hi"),
        (Retrying(id="2-1", job=JOB, reason="lost"), ""),
        (Cancelled(id="2-1", job=JOB, length=0), ""),
    ]
    for event, text in ways:
        transcript = Transcript()
        transcript.apply(delta("1-5", 0, "Hello"))
        transcript.apply(event)
        assert transcript.text == text


def test_what_comes_twice_is_taken_once_and_what_is_missing_is_said() -> None:
    transcript = Transcript()
    hello = delta("1-5", 0, "Hello")
    for event in (started(1), hello, hello, started(1)):
        transcript.apply(event)
    assert transcript.text == "Hello"
    with pytest.raises(ValueError, match="event 1-9 begins at 8, and 5 are held"):
        transcript.apply(delta("1-9", 8, "!"))
    with pytest.raises(ValueError, match="begins at 3"):
        Transcript().apply(delta("1-5", 3, "lo"))


def test_calls_are_joined_by_their_index() -> None:
    transcript = Transcript()
    pieces = [
        ToolCall(index=1, id="b", name="second"),
        ToolCall(index=0, id="a", name="first", arguments="{"),
        ToolCall(index=1, arguments='{"x"'),
        ToolCall(index=0, arguments="}"),
        ToolCall(index=1, arguments=":1}"),
    ]
    at = 0
    for call in pieces:
        end = at + len(call.arguments) + (call.name is not None)
        transcript.apply(delta(f"1-{end}", at, choice=3, tool_call=call))
        at = end
    assert transcript.choices[3].tool_calls == (
        ToolCall(index=0, id="a", name="first", arguments="{}"),
        ToolCall(index=1, id="b", name="second", arguments='{"x":1}'),
    )
    assert transcript.text == ""


PARTS = st.sampled_from(["text", "reasoning", "refusal"])
ATTEMPT = st.lists(st.tuples(st.integers(0, 2), PARTS, st.text(min_size=1, max_size=4)), max_size=8)


def attempt_events(number: int, pieces: list[tuple[int, str, str]]) -> list[Event]:
    events: list[Event] = [started(number)]
    at = 0
    for choice, part, text in pieces:
        end = at + len(text)
        events.append(Delta(id=f"{number}-{end}", job=JOB, at=at, choice=choice, **{part: text}))  # type: ignore[arg-type]
        at = end
    return events


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(ATTEMPT, st.booleans()), min_size=1, max_size=4),
    st.lists(st.integers(0, 30), max_size=3).map(sorted),
    st.integers(0, 9),
)
def test_at_the_end_it_holds_the_last_attempt_part_by_part_however_often_its_reader_comes_back(
    attempts: list[tuple[list[tuple[int, str, str]], bool]], breaks: list[int], again: int
) -> None:
    events: list[Event] = []
    for number, (pieces, told) in enumerate(attempts, 1):
        events += attempt_events(number, pieces)
        length = sum(len(text) for *_, text in pieces)
        if told and number < len(attempts):
            events.append(Retrying(id=f"{number}-{length + 1}", job=JOB, reason="error"))
    events.append(Completed(id=f"{len(attempts)}-{length + 1}", job=JOB, length=length))
    transcript = Transcript()
    for begin, end in pairwise([0, *breaks, len(events)]):
        for event in events[max(begin - again, 0) : end]:
            transcript.apply(event)

    assert transcript.end == events[-1]
    said: dict[tuple[int, str], str] = {}
    for choice, part, text in attempts[-1][0]:
        said[choice, part] = said.get((choice, part), "") + text
    held = {
        (index, part): getattr(choice, part)
        for index, choice in transcript.choices.items()
        for part in ("text", "reasoning", "refusal")
        if getattr(choice, part)
    }
    assert held == said
