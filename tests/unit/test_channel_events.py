"""The wire contract's events: their JSON, their cursors, and cutting a delta short."""

import json
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.channel.events import (
    ChannelEvent,
    Completed,
    Cursor,
    Delta,
    Failed,
    Failure,
    Retrying,
    Started,
    ToolCall,
    decode,
    encode,
    extent,
    tail,
)
from worker.channel.follow import Gap, Position
from worker.errors import InvalidCursor

JOB = "job_0123456789abcdef"
FAILURE = Failure("server", "500", 500, "broken")


def test_the_json_is_what_the_contract_says() -> None:
    cases: list[tuple[ChannelEvent, dict[str, object]]] = [
        (
            Started(id="2-0", job=JOB, upstream="openai", model="gpt"),
            {"type": "started", "id": "2-0", "job": JOB, "upstream": "openai", "model": "gpt"},
        ),
        (
            Delta(id="2-5", job=JOB, at=0, choice=0, text="Hello"),
            {"type": "delta", "id": "2-5", "job": JOB, "at": 0, "choice": 0, "text": "Hello"},
        ),
        (
            Delta(id="2-6", job=JOB, at=5, choice=1, tool_call=ToolCall(0, "call_1", "look", "")),
            {
                "type": "delta", "id": "2-6", "job": JOB, "at": 5, "choice": 1,
                "tool_call": {"index": 0, "id": "call_1", "name": "look"},
            },
        ),
        (
            Retrying(id="2-7", job=JOB, reason="error", code="502", category="server", wait_s=1.5,
                     scheduled_at=datetime(2030, 1, 2, tzinfo=UTC)),
            {
                "type": "retrying", "id": "2-7", "job": JOB, "reason": "error", "code": "502",
                "category": "server", "wait_s": 1.5, "scheduled_at": "2030-01-02T00:00:00Z",
            },
        ),
        (
            Failed(id="2-7", job=JOB, length=6, error=FAILURE),
            {
                "type": "failed", "id": "2-7", "job": JOB, "length": 6, "finish_reason": None,
                "usage": None, "extra": None,
                "error": {"category": "server", "code": "500", "status": 500, "message": "broken"},
            },
        ),
    ]  # fmt: skip
    for event, expected in cases:
        assert json.loads(encode(event)) == expected
        assert encode(event).startswith(b'{"type":"')
        assert decode(encode(event)) == event


def test_an_event_with_keys_of_a_later_version_is_understood() -> None:
    event = decode(b'{"type":"delta","id":"1-1","job":"j","at":0,"choice":0,"text":"a","new":1}')
    assert event == Delta(id="1-1", job="j", at=0, choice=0, text="a")


@pytest.mark.parametrize("text", ["0-0", "1-0", "12-345", "999999999999999-999999999999999"])
def test_a_cursor_reads_as_it_is_written(text: str) -> None:
    assert str(Cursor.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    ["", "1", "1-", "-1", "1-2-3", "a-b", "1-2 ", " 1-2", "+1-2", "1.0-2", "\uff11-\uff12", "1-2\n",
     "1" * 16 + "-0", "$", "latest", "\ud800-1", "1-" + "9" * 500],
)  # fmt: skip
def test_what_is_no_cursor_is_refused_with_the_remedy(text: str) -> None:
    with pytest.raises(InvalidCursor, match="is not <attempt>-<offset>; use an event's id") as it:
        Cursor.parse(text)
    assert len(str(it.value)) < 400
    str(it.value).encode()


def test_cursors_are_ordered_by_attempt_and_then_by_offset() -> None:
    ids = ["0-0", "1-0", "1-9", "1-10", "2-0", "10-0"]
    assert sorted(reversed(ids), key=Cursor.parse) == ids


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
calls = st.builds(ToolCall, st.integers(0, 3), st.none(), st.none(), texts)
openings = st.builds(ToolCall, st.integers(0, 3), st.just("c"), st.just("f"), texts | st.just(""))
parts = st.one_of(
    *(st.fixed_dictionaries({name: texts}) for name in ("text", "reasoning", "refusal")),
    st.fixed_dictionaries({"tool_call": calls | openings}),
)


def characters(delta: Delta) -> list[str]:
    """Every character of a delta; the opening of a tool call is one of them."""
    call = delta.tool_call
    if call is not None:
        return [f"<{call.name}>"] * (call.name is not None) + list(call.arguments)
    return list(delta.text or delta.reasoning or delta.refusal or "")


def delta_of(fields: dict[str, object], at: int = 0) -> Delta:
    delta = Delta(id="1-0", job=JOB, at=at, choice=0, **fields)  # type: ignore[arg-type]
    return msgspec.structs.replace(delta, id=f"1-{at + extent(delta)}")


@given(parts, st.integers(0, 100), st.data())
def test_a_delta_cut_short_is_its_last_characters(
    fields: dict[str, object], at: int, data: st.DataObject
) -> None:
    delta = delta_of(fields, at)
    assert extent(delta) == len(characters(delta))
    count = data.draw(st.integers(1, extent(delta)))
    if count == extent(delta):
        return
    rest = tail(delta, count)
    assert characters(rest) == characters(delta)[-count:]
    assert (rest.at, rest.id) == (delta.at + extent(delta) - count, delta.id)
    assert extent(rest) == count


@given(st.lists(parts, min_size=1, max_size=8), st.data())
def test_whatever_is_heard_twice_or_cut_anew_is_taken_once(
    runs: list[dict[str, object]], data: st.DataObject
) -> None:
    """A position fed with overlapping pieces of one output takes every character exactly once."""
    whole: list[Delta] = []
    for fields in runs:
        whole.append(delta_of(fields, whole[-1].cursor.offset if whole else 0))
    started = Started(id="1-0", job=JOB, upstream="u", model="m")
    length = whole[-1].cursor.offset
    start = data.draw(st.integers(0, length))
    position, taken = Position(Cursor(1, start)), []
    for _ in range(data.draw(st.integers(0, 6))):
        place = data.draw(st.integers(0, len(whole) - 1))
        try:
            taken += position.take_all(whole[place : place + 2])
        except Gap as gap:
            taken += gap.taken
    end = Completed(id=f"1-{length + 1}", job=JOB, length=length)
    taken += position.take_all([started, *whole, end])
    heard = [item for event in taken if isinstance(event, Delta) for item in characters(event)]
    assert heard == [item for delta in whole for item in characters(delta)][start:]
    assert position.ended
    assert [event.cursor for event in taken] == sorted({event.cursor for event in taken})


@pytest.mark.parametrize(
    ("cursor", "event"),
    [
        (Cursor(1, 3), Delta(id="1-9", job=JOB, at=5, choice=0, text="hole")),
        (Cursor(1, 3), Delta(id="2-4", job=JOB, at=0, choice=0, text="text")),
        (Cursor(1, 3), Completed(id="1-9", job=JOB, length=8)),
        (Cursor(1, 3), Completed(id="2-9", job=JOB, length=8)),
        (Cursor(1, 3), Retrying(id="1-9", job=JOB, reason="error")),
        (Cursor(0, 0), Delta(id="1-4", job=JOB, at=0, choice=0, text="text")),
    ],
)
def test_what_does_not_follow_is_a_gap(cursor: Cursor, event: ChannelEvent) -> None:
    position = Position(cursor)
    with pytest.raises(Gap):
        position.take_all([event])
    assert position.cursor == cursor


@pytest.mark.parametrize(
    "event",
    [
        Started(id="2-0", job=JOB, upstream="u", model="m"),
        Retrying(id="2-1", job=JOB, reason="lost"),
        Retrying(id="5-77", job=JOB, reason="error"),
        Failed(id="2-1", job=JOB, length=0),
    ],
)
def test_what_voids_the_text_follows_on_everything(event: ChannelEvent) -> None:
    assert Position(Cursor(1, 3)).take_all([event]) == [event]


def test_entries_of_attempts_that_the_database_calls_void_are_ignored() -> None:
    position = Position(Cursor(0, 0))
    position.floor = 3
    old = Started(id="2-0", job=JOB, upstream="u", model="m")
    new = Started(id="3-0", job=JOB, upstream="u", model="m")
    assert position.take_all([old, new]) == [new]
