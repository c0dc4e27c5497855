"""The client's decoder follows the WHATWG rules, ids and hints included, at every split."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.whatwg import BOM, WEB_PLATFORM_VECTORS
from worker.client.sse import Decoder, ServerEvent


def events_of(*pieces: bytes) -> list[ServerEvent]:
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [pytest.param(stream, expected, id=name) for name, stream, expected in WEB_PLATFORM_VECTORS],
)
def test_a_vector_decodes_the_same_at_every_split_and_byte_by_byte(
    stream: bytes, expected: list[tuple[bytes | None, bytes]]
) -> None:
    wanted = [((type or b"message").decode(), data.decode()) for type, data in expected]
    splits = [(stream,), [stream[at : at + 1] for at in range(len(stream))]]
    splits += [(stream[:at], stream[at:]) for at in range(len(stream))]
    for pieces in splits:
        assert [(event.type, event.data) for event in events_of(*pieces)] == wanted


def test_an_id_stays_until_there_is_another() -> None:
    events = events_of(b"id: 1-0\ndata: a\n\ndata: b\n\nid\ndata: c\n\nid: x\0y\ndata: d\n\n")
    assert [event.id for event in events] == ["1-0", "1-0", "", ""]


def test_a_hint_is_heeded_if_it_is_a_number() -> None:
    decoder = Decoder()
    assert decoder.retry_s is None
    decoder.feed(b"retry: 2500\n\nretry: soon\nretry: -1\nretry: \xc2\xb2\n")
    assert decoder.retry_s == 2.5


def test_a_line_end_in_two_pieces_is_one() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: 1\r") == []
    assert decoder.feed(b"\ndata: 2\r") == []
    assert decoder.feed(b"\n\r") == [ServerEvent("message", "1\n2", "")]
    assert decoder.feed(b"\n") == []


FRAGMENTS = st.sampled_from(
    "data:|data: ü𝄞|data|event: error|{}|:| |id: 1|retry: 5|\u2028".encode().split(b"|")
) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", BOM, BOM[:1], b"\0", b"\xff"])


@settings(max_examples=200, deadline=None)
@given(st.lists(FRAGMENTS | st.binary(max_size=3), max_size=20).map(b"".join))
def test_any_stream_decodes_the_same_at_every_split(stream: bytes) -> None:
    whole = events_of(stream)
    for at in range(len(stream)):
        assert events_of(stream[:at], stream[at:]) == whole


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), min_size=1
    ),
    st.sampled_from([b"\r", b"\n", b"\r\n"]),
    st.lists(st.integers(0, 400), max_size=12),
)
def test_whatever_was_sent_arrives(lines: list[str], end: bytes, cuts: list[int]) -> None:
    stream = BOM + end.join(b"data: " + line.encode() for line in lines) + end * 2
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    (event,) = events_of(*(stream[a:b] for a, b in pairwise(bounds)))
    assert event.data == "\n".join(lines)
