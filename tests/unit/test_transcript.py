"""What is published, replayed and saved is the same text, under the same offsets."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.stream.extras import BESIDE, beside, merged
from worker.stream.runs import Piece
from worker.stream.transcript import Transcript, Verdict
from worker.stream.wire import Choice, Chunk, Delta, Extra, FunctionDelta, ToolCallDelta, XGroq
from worker.text import repair


def chunk(index: int = 0, finish: str | None = None, extra: Any = None, **delta: Any) -> Chunk:
    choice = Choice(index=index, delta=Delta(**delta), finish_reason=finish, extra=extra)
    return Chunk(choices=[choice])


def call(
    index: int | None = None,
    call_id: str | None = None,
    name: str | None = None,
    arguments: str | None = None,
) -> ToolCallDelta:
    return ToolCallDelta(index=index, id=call_id, function=FunctionDelta(name, arguments))


def transcript_of(*chunks: Chunk) -> Transcript:
    transcript = Transcript()
    for item in chunks:
        transcript.apply(item)
    return transcript


def calls_in(transcript: Transcript) -> list[tuple[object, object, object]]:
    transcript.close()
    calls: Any = transcript.output()[0].get("tool_calls", [])
    return [(item["id"], *item["function"].values()) for item in calls]


def test_consecutive_text_is_one_piece_and_the_next_take_goes_on_from_it() -> None:
    transcript = transcript_of(chunk(content="he"), chunk(content="l"))
    assert transcript.take() == [Piece(0, 3, 0, "text", "hel")]
    assert transcript.take() == []
    transcript.apply(chunk(content="lo"))
    assert transcript.take() == [Piece(3, 5, 0, "text", "lo")]
    assert transcript.length == 5
    assert transcript.output_text == "hello"


def test_a_new_transcript_is_empty() -> None:
    transcript = Transcript()
    transcript.close()
    assert (transcript.take(), transcript.replay(), transcript.parts()) == ([], [], [])
    assert (transcript.output(), transcript.output_text, transcript.length) == ([], "", 0)
    assert (transcript.finish_reason, transcript.usage, transcript.model) == (None, None, None)
    assert (transcript.empty, transcript.proven, transcript.trailing_extra) == (True, False, {})


def test_a_replay_gives_everything_and_the_next_take_goes_on_from_there() -> None:
    transcript = transcript_of(chunk(content="a"), chunk(reasoning="b"))
    transcript.take()
    transcript.apply(chunk(reasoning="c"))
    assert transcript.replay() == [Piece(0, 1, 0, "text", "a"), Piece(1, 3, 0, "reasoning", "bc")]
    assert transcript.take() == []
    transcript.apply(chunk(reasoning="d"))
    assert transcript.take() == [Piece(3, 4, 0, "reasoning", "d")]
    assert [piece.text for piece in transcript.replay()] == ["a", "bcd"]


def test_a_part_that_comes_back_is_a_run_of_its_own() -> None:
    transcript = transcript_of(
        chunk(content="a"), chunk(1, content="bb"), chunk(content="c"), chunk(refusal="no")
    )
    assert [(p.at, p.end, p.choice, p.part) for p in transcript.take()] == [
        (0, 1, 0, "text"),
        (1, 3, 1, "text"),
        (3, 4, 0, "text"),
        (4, 6, 0, "refusal"),
    ]
    assert transcript.parts() == [(0, "text", 1), (1, "text", 2), (0, "text", 1), (0, "refusal", 2)]
    assert transcript.output_text == "ac"


def test_reasoning_under_both_names_is_taken_once_and_comes_before_the_text() -> None:
    transcript = transcript_of(chunk(reasoning_content="hm", reasoning="hm", content="so"))
    assert [(p.part, p.text) for p in transcript.take()] == [("reasoning", "hm"), ("text", "so")]
    assert transcript.output() == [
        {
            "index": 0,
            "role": "assistant",
            "content": "so",
            "reasoning": "hm",
            "finish_reason": None,
        }
    ]


def test_an_empty_reasoning_content_does_not_hide_the_reasoning() -> None:
    transcript = transcript_of(chunk(reasoning_content="", reasoning="hm"))
    assert [piece.text for piece in transcript.take()] == ["hm"]


# Characters -----------------------------------------------------------------------------------


def test_nul_and_lone_surrogates_are_replaced_before_they_are_counted() -> None:
    transcript = transcript_of(chunk(content="a\0b"), chunk(content="\ude00\ud83dx"))
    assert transcript.take() == [Piece(0, 6, 0, "text", "a\ufffdb\ufffd\ufffdx")]


def test_a_character_in_two_halves_is_counted_once_and_published_with_its_second() -> None:
    transcript = transcript_of(chunk(content="a\ud83d"))
    assert transcript.take() == [Piece(0, 1, 0, "text", "a")]
    transcript.apply(chunk(content="\ude00b"))
    assert transcript.take() == [Piece(1, 3, 0, "text", "😀b")]


def test_a_half_waits_for_its_own_part_and_is_let_out_at_the_close() -> None:
    transcript = transcript_of(
        chunk(content="\ud83d"), chunk(1, content="b"), chunk(reasoning="\ud83d")
    )
    transcript.apply(chunk(content="\ude00"))
    assert [(p.choice, p.text) for p in transcript.take()] == [(1, "b"), (0, "😀")]
    transcript.close()
    transcript.close()
    assert transcript.take() == [Piece(2, 3, 0, "reasoning", "\ufffd")]


def test_a_character_beyond_the_basic_plane_counts_one() -> None:
    assert transcript_of(chunk(content="😀好")).length == 2


# Tool calls -----------------------------------------------------------------------------------


def test_the_opening_of_a_tool_call_counts_one_and_carries_its_name() -> None:
    transcript = transcript_of(
        chunk(tool_calls=[call(0, "c1", "f", "")]), chunk(tool_calls=[call(0, arguments='{"a":')])
    )
    assert transcript.take() == [
        Piece(0, 6, 0, "tool_call", '{"a":', index=0, id="c1", name="f"),
    ]
    transcript.apply(chunk(tool_calls=[call(0, arguments="1}")]))
    assert transcript.take() == [Piece(6, 8, 0, "tool_call", "1}", index=0)]
    assert transcript.parts() == [(0, "tool_call:0", 8)]
    assert transcript.replay() == [
        Piece(0, 8, 0, "tool_call", '{"a":1}', index=0, id="c1", name="f")
    ]


def test_arguments_before_the_name_are_held_until_it_comes() -> None:
    transcript = transcript_of(chunk(tool_calls=[call(3, arguments="{")]))
    assert (transcript.take(), transcript.length, transcript.empty) == ([], 0, False)
    transcript.apply(chunk(tool_calls=[call(3, name="f")]))
    assert transcript.take() == [Piece(0, 2, 0, "tool_call", "{", index=3, id=None, name="f")]
    transcript.apply(chunk(tool_calls=[call(3, "late", arguments="}")]))
    assert calls_in(transcript) == [("late", "f", "{}")]


def test_a_call_whose_name_never_comes_is_opened_at_the_close() -> None:
    transcript = transcript_of(chunk(tool_calls=[call(0, "c1", None, "{}\ud83d")]))
    transcript.close()
    assert transcript.take() == [Piece(0, 4, 0, "tool_call", "{}\ufffd", index=0, id="c1", name="")]
    assert calls_in(transcript) == [("c1", "", "{}\ufffd")]


@pytest.mark.parametrize("nothing", [None, ""])
def test_null_and_repeated_names_do_not_overwrite(nothing: str | None) -> None:
    transcript = transcript_of(
        chunk(tool_calls=[call(0, "c1", "f", "a")]),
        chunk(tool_calls=[call(0, nothing, nothing, "b")]),
        chunk(tool_calls=[call(0, "c1", "f", "c")]),
        chunk(tool_calls=[ToolCallDelta(index=0, id="c2")]),
    )
    assert calls_in(transcript) == [("c1", "f", "abc")]


@pytest.mark.parametrize(
    ("arrays", "expected"),
    [
        # the same id is the same call, wherever it stands
        (
            [[call(None, "a", "f"), call(None, "b", "g")], [call(None, "b", None, "2")]],
            [("a", "f", ""), ("b", "g", "2")],
        ),
        # no id, and one open call
        ([[call(5, "a", "f", "1")], [call(None, None, None, "2")]], [("a", "f", "12")]),
        # no id, several calls: the position
        (
            [
                [call(0, "a", "f"), call(1, "b", "g")],
                [call(arguments="1"), call(arguments="2")],
            ],
            [("a", "f", "1"), ("b", "g", "2")],
        ),
        # two calls without index or id in one array
        ([[call(name="f"), call(name="g")]], [(None, "f", ""), (None, "g", "")]),
        # whole calls one after the other, each at position 0
        (
            [[call(None, "a", "f", "1")], [call(None, "b", "f", "2")]],
            [("a", "f", "1"), ("b", "f", "2")],
        ),
        ([[call(name="f")], [call(name="g")]], [(None, "f", ""), (None, "g", "")]),
        # with an index, the index decides
        ([[call(1, "a", "f", "1")], [call(1, "b", "g", "2")]], [("a", "f", "12")]),
    ],
)
def test_a_piece_finds_its_call(arrays: list[list[ToolCallDelta]], expected: object) -> None:
    transcript = transcript_of(*(chunk(tool_calls=items) for items in arrays))
    assert calls_in(transcript) == expected


def test_content_is_null_where_a_tool_call_or_a_refusal_stands_for_it() -> None:
    for delta in ({"tool_calls": [call(0, "c1", "f")]}, {"refusal": "no"}):
        assert transcript_of(chunk(**delta)).output()[0]["content"] is None
    assert transcript_of(chunk(content="")).output()[0]["content"] == ""


# Extras ---------------------------------------------------------------------------------------


def test_a_piece_with_an_extra_is_never_merged() -> None:
    transcript = transcript_of(
        chunk(content="a"), chunk(content="b", extra={"x": 1}), chunk(content="c")
    )
    expected = [
        Piece(0, 1, 0, "text", "a"),
        Piece(1, 2, 0, "text", "b", extra={"x": 1}),
        Piece(2, 3, 0, "text", "c"),
    ]
    assert transcript.take() == expected
    assert transcript.replay() == expected
    assert transcript.parts() == [(0, "text", 3)]


def test_an_extra_without_a_character_joins_the_next_piece_of_its_choice() -> None:
    transcript = transcript_of(
        chunk(extra={"x": 1}), chunk(1, content="b"), chunk(1, content="c"), chunk(content="a")
    )
    assert [(p.text, p.extra) for p in transcript.take()] == [("bc", None), ("a", {"x": 1})]


def test_extras_that_wait_are_joined_by_the_rules_of_deltas() -> None:
    first = {"a": {"id": "i", "data": "xx"}, "n": 1, "l": [1], "o": 1}
    later = {"a": {"id": "i", "data": "yy"}, "n": 2, "l": [2], "o": None}
    transcript = transcript_of(chunk(extra=first), chunk(extra=later))
    joined = {"a": {"id": "i", "data": "xxyy"}, "n": 2, "l": [1, 2], "o": 1}
    assert transcript.trailing_extra == {0: joined}
    transcript.apply(chunk(content="a"))
    assert transcript.take() == [Piece(0, 1, 0, "text", "a", extra=joined)]
    assert transcript.trailing_extra == {}


def test_logprobs_travel_with_their_text() -> None:
    logprobs: dict[str, object] = {"content": [{"token": "a\0"}]}
    choice = Choice(delta=Delta(content="a"), logprobs=logprobs)
    transcript = transcript_of(Chunk(choices=[choice]))
    (piece,) = transcript.take()
    assert piece.extra == {"logprobs": {"content": [{"token": "a\ufffd"}]}}


def test_an_extra_of_a_tool_call_stands_on_its_opening() -> None:
    transcript = transcript_of(chunk(tool_calls=[call(0, "c1", "f", "{}")], extra={"x": 1}))
    assert transcript.take() == [
        Piece(0, 1, 0, "tool_call", "", index=0, id="c1", name="f", extra={"x": 1}),
        Piece(1, 3, 0, "tool_call", "{}", index=0),
    ]


def saved_beside(transcript: Transcript) -> dict[object, object]:
    """By choice, what saved messages have beside them."""
    messages = transcript.output(extras=True)
    return {
        message["index"]: msgspec.json.decode(msgspec.json.encode(beside(message)))
        for message in messages
        if BESIDE in message
    }


def test_a_saved_message_has_what_came_beside_it_only_where_that_is_wanted() -> None:
    transcript = transcript_of(
        chunk(content="a", extra={"logprobs": {"content": [1]}}),
        chunk(1, content="b"),
        chunk(content="c", extra={"logprobs": {"content": [2, 3]}, "x": "y"}),
        chunk(extra={"end": True}, finish="stop"),
        Chunk(choices=[Choice(index=2, extra={"nobody": "said anything"})]),
    )
    joined = {"logprobs": {"content": [1, 2, 3]}, "x": "y", "end": True}
    assert saved_beside(transcript) == {0: joined}
    assert all(BESIDE not in message for message in transcript.output())
    plain = transcript_of(chunk(content="a", finish="stop"))
    assert plain.output(extras=True) == plain.output()


# The end --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "done", "verdict"),
    [
        ([], False, Verdict.TRUNCATED),
        ([], True, Verdict.TRUNCATED),
        ([chunk(content="a")], False, Verdict.TRUNCATED),
        ([chunk(content="a")], True, Verdict.UNVERIFIED),
        ([chunk(tool_calls=[call(0, "c1", "f")])], True, Verdict.UNVERIFIED),
        ([chunk(content="")], True, Verdict.TRUNCATED),
        ([chunk(reasoning="hm")], True, Verdict.TRUNCATED),
        ([chunk(content="a", finish="")], False, Verdict.TRUNCATED),
        ([chunk(content="a", finish="null")], False, Verdict.TRUNCATED),
        ([chunk(finish="stop")], False, Verdict.COMPLETE),
        ([chunk(content="a", finish="eos")], True, Verdict.COMPLETE),
        ([chunk(content="a", finish="stop"), chunk(content=None)], False, Verdict.COMPLETE),
        ([chunk(finish="stop"), chunk(1, content="b")], False, Verdict.TRUNCATED),
        ([chunk(finish="stop"), chunk(1, content="b")], True, Verdict.UNVERIFIED),
        ([chunk(content="a", finish="stop"), chunk(1)], True, Verdict.TRUNCATED),
        ([chunk(finish="stop"), chunk(1, finish="length")], False, Verdict.COMPLETE),
    ],
)
def test_the_verdict_needs_proof(chunks: list[Chunk], done: bool, verdict: Verdict) -> None:
    transcript = transcript_of(*chunks)
    assert transcript.verdict(done) is verdict
    assert transcript.proven is (verdict is Verdict.COMPLETE)


def test_a_choice_is_seen_by_its_delta_or_its_finish_reason_and_nothing_less() -> None:
    filtered = Chunk(choices=[Choice(index=1, extra={"x": 1})])
    transcript = transcript_of(Chunk(), filtered, chunk(finish="stop"), filtered)
    assert transcript.verdict(done=False) is Verdict.COMPLETE
    assert list(transcript.trailing_extra) == [1]
    finished = transcript_of(Chunk(choices=[Choice(index=2, finish_reason="stop")]))
    assert (finished.proven, finished.finish_reason) == (True, "stop")


def test_the_finish_reason_is_that_of_the_lowest_choice() -> None:
    ended = [chunk(2, finish="length"), chunk(1, finish="stop\0")]
    assert transcript_of(*ended).finish_reason == "stop\ufffd"
    transcript = transcript_of(*ended, chunk(content="a"))
    assert transcript.finish_reason is None
    assert [message["index"] for message in transcript.output()] == [0, 1, 2]


def test_the_last_usage_counts_and_a_null_does_not() -> None:
    transcript = transcript_of(Chunk(usage={"a": 1}), Chunk(), Chunk(x_groq=XGroq(usage=None)))
    assert transcript.usage == {"a": 1}
    transcript.apply(Chunk(x_groq=XGroq(usage={"a": 2, "b\0": "c\0"})))
    assert transcript.usage == {"a": 2, "b\ufffd": "c\ufffd"}


def test_the_first_model_named_is_the_model() -> None:
    transcript = transcript_of(Chunk(), Chunk(model=""), Chunk(model="m\0"), Chunk(model="n"))
    assert transcript.model == "m\ufffd"


def test_ten_thousand_takes_lose_nothing() -> None:
    transcript = Transcript()
    taken: list[Piece] = []
    for _ in range(10_000):
        transcript.apply(chunk(content="abc"))
        taken += transcript.take()
    assert [(piece.at, piece.end) for piece in taken[-2:]] == [(29_994, 29_997), (29_997, 30_000)]
    assert transcript.output_text == "abc" * 10_000


def nested(levels: int) -> dict[str, object]:
    document: dict[str, object] = {}
    for _ in range(levels):
        document = {"a\0": document, "a": [1]}
    return document


@pytest.mark.parametrize("levels", [3, 100_000])
def test_documents_nested_too_deeply_are_dropped_and_never_raise(levels: int) -> None:
    deep = nested(levels)
    choice = Choice(delta=Delta(content=""), logprobs=deep)
    transcript = transcript_of(Chunk(choices=[choice], usage=deep), Chunk(choices=[choice]))
    kept = transcript.trailing_extra.get(0)
    assert (kept is not None, transcript.usage is not None) == ((levels == 3,) * 2)


# Any stream -----------------------------------------------------------------------------------

TEXT = st.text(st.sampled_from("ab\0é好😀\ud83d\ude00\udbff\udc00"), max_size=5)
EXTRA = st.none() | st.just({"x": [1]})
CALLS = st.lists(
    st.builds(
        call,
        st.none() | st.integers(0, 2),
        st.none() | st.sampled_from(["", "c1", "c2"]),
        st.none() | st.sampled_from(["", "f", "g"]),
        st.none() | TEXT,
    ),
    max_size=2,
)
CHUNKS = st.lists(
    st.builds(
        chunk,
        st.integers(0, 1),
        st.none() | st.sampled_from(["", "stop"]),
        EXTRA,
        content=st.none() | TEXT,
        reasoning=st.none() | TEXT,
        refusal=st.none() | TEXT,
        tool_calls=st.none() | CALLS,
    ),
    max_size=25,
)


def published(pieces: list[Piece]) -> dict[tuple[object, ...], str]:
    """What a reader holds: the text of each part, and of each tool call its name before it."""
    held: dict[tuple[object, ...], str] = {}
    for piece in pieces:
        opening = "" if piece.name is None else f"<{piece.id},{piece.name}>"
        key = (piece.choice, piece.part, piece.index)
        held[key] = held.get(key, "") + opening + piece.text
    return held


@settings(max_examples=150, deadline=None)
@given(CHUNKS, st.lists(st.sampled_from(["take", "replay", ""]), max_size=25))
def test_what_readers_hold_is_what_is_replayed_and_saved(
    chunks: list[Chunk], steps: list[str]
) -> None:
    transcript = Transcript()
    pieces: list[Piece] = []
    for place, item in enumerate(chunks):
        transcript.apply(item)
        step = steps[place] if place < len(steps) else ""
        if step == "take":
            pieces += transcript.take()
        elif step == "replay":
            pieces = transcript.replay()
    transcript.close()
    pieces += transcript.take()
    replayed = transcript.replay()
    assert published(pieces) == published(replayed)
    for sequence in (pieces, replayed):
        end = 0
        for piece in sequence:
            assert piece.at == end < piece.end
            assert piece.end - piece.at == len(piece.text) + (piece.name is not None)
            piece.text.encode()
            end = piece.end
        assert end == transcript.length == sum(length for *_, length in transcript.parts())
    saved = {
        (message["index"], part, None): message[key]
        for message in transcript.output()
        for part, key in (("text", "content"), ("reasoning", "reasoning"), ("refusal", "refusal"))
        if message.get(key)
    }
    assert saved == {key: text for key, text in published(pieces).items() if key[2] is None}
    heard: dict[int, Extra] = {}
    ends = transcript.trailing_extra.items()
    for choice, extra in [*((piece.choice, piece.extra or {}) for piece in replayed), *ends]:
        heard[choice] = merged(heard.get(choice, {}), extra)
    kept = saved_beside(transcript)
    assert kept == {choice: extra for choice, extra in heard.items() if extra and choice in kept}
    assert {m["index"] for m in transcript.output() if heard.get(int(str(m["index"])))} == set(kept)


@settings(deadline=None)
@given(st.lists(TEXT, max_size=12))
def test_however_a_text_is_cut_into_deltas_it_is_the_same_text(texts: list[str]) -> None:
    transcript = transcript_of(*(chunk(content=text) for text in texts))
    transcript.close()
    assert transcript.output_text == repair("".join(texts))
