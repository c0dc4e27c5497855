"""The event decoder follows the WHATWG rules at every split of the bytes, and never cuts."""

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.whatwg import BOM, WEB_PLATFORM_VECTORS
from worker.errors import Category, UpstreamError
from worker.stream.body import BodyDecoder
from worker.stream.sse import Event, EventDecoder


def events_of(*pieces: bytes) -> list[Event]:
    decoder = EventDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.flush()


def body_events(*pieces: bytes) -> list[Event]:
    decoder = BodyDecoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + decoder.flush()


# What upstreams do beside it; the same splits must not matter.
UPSTREAM_VECTORS = [
    ("ping without data", b"event: ping\n\ndata: {}\n\n", [(None, b"{}")]),
    ("comment after id", b"id: 7\n\n: keep-alive\n\ndata: {}\n\n", [(None, b"{}")]),
    ("explicit message type", b"event: message\ndata: {}\n\n", [(None, b"{}")]),
    ("crlf, no space", b"event:error\r\ndata:{}\r\n\r\n", [(b"error", b"{}")]),
    ("lone cr", b"data: {}\r\rdata: []\r\r", [(None, b"{}"), (None, b"[]")]),
    ("unicode separators", "data: a\u2028b\u2029c\x85d\x0b\x0c\x1c\n\n".encode(), None),
    (
        "llama.cpp error field",
        b'error: {"code":400}\n\ndata: [DONE]\n\n',
        [(b"error", b'{"code":400}'), (None, b"[DONE]")],
    ),
    ("another error field", b"error: none\ndata: {}\n\n", [(None, b"{}")]),
]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [pytest.param(stream, expected, id=name) for name, stream, expected in WEB_PLATFORM_VECTORS]
    + [pytest.param(stream, expected, id=name) for name, stream, expected in UPSTREAM_VECTORS],
)
def test_a_vector_decodes_the_same_at_every_split_and_byte_by_byte(
    stream: bytes, expected: list[tuple[bytes | None, bytes]] | None
) -> None:
    if expected is None:
        expected = [(None, stream[len(b"data: ") : -2])]
    splits = [(stream,), [stream[at : at + 1] for at in range(len(stream))]]
    splits += [(stream[:at], stream[at:]) for at in range(len(stream))]
    for pieces in splits:
        assert [(event.type, event.data) for event in events_of(*pieces)] == expected
        assert [(event.type, event.data) for event in body_events(*pieces)] == expected


def test_an_event_that_ends_in_cr_is_out_before_the_next_byte_arrives() -> None:
    assert EventDecoder().feed(b"data: {}\r\r") == [Event(b"{}")]


def test_the_line_feed_of_a_split_crlf_does_not_dispatch_twice() -> None:
    decoder = EventDecoder()
    assert decoder.feed(b"data: 1\r") == []
    assert decoder.feed(b"\ndata: 2\r") == []
    assert decoder.feed(b"\n\r") == [Event(b"1\n2")]
    assert decoder.feed(b"\n") == []


@pytest.mark.parametrize("left", [b"data: [DONE]", b"data:[DONE]\n", b'data: {"a":1}', b"data: []"])
def test_a_whole_block_at_the_end_of_the_body_is_handed_out_as_pending(left: bytes) -> None:
    (event,) = events_of(b"data: {}\n\n", left)[1:]
    assert event.pending
    assert event.data == left.partition(b":")[2].strip()


@pytest.mark.parametrize(
    "left", [b'data: {"choices":[{"ind', b"data: 12", b"data: nul", b'error: {"code"', b"da", b":"]
)
def test_half_a_block_at_the_end_of_the_body_is_dropped(left: bytes) -> None:
    assert events_of(b"data: {}\n\n", left) == [Event(b"{}")]


def test_a_pending_block_keeps_its_type_and_joins_its_lines() -> None:
    assert events_of(b'event: error\ndata: {"error":\ndata: "x"}') == [
        Event(b'{"error":\n"x"}', b"error", pending=True)
    ]


@pytest.mark.parametrize("step", [1, 7, 64, 10_000])
@pytest.mark.parametrize(
    "stream",
    [
        b"data: " + b"x" * 200 + b"\n\n",
        b"data: 12345678\n" * 20 + b"\n",
        b"data\n" * 120,
        b": " + b"x" * 200 + b"\n",
        b"x" * 200,
    ],
)
def test_more_than_the_cap_is_an_error_at_every_split_and_never_a_cut(
    stream: bytes, step: int
) -> None:
    decoder = EventDecoder(max_event_bytes=100)
    with pytest.raises(UpstreamError) as caught:
        for at in range(0, len(stream), step):
            assert decoder.feed(stream[at : at + step]) == []
    assert (caught.value.category, caught.value.code) == (Category.TRUNCATED, "event_too_large")


def test_the_cap_is_per_event_not_per_stream_or_read() -> None:
    decoder = EventDecoder(max_event_bytes=100)
    events = b"data: " + b"x" * 90 + b"\n\n: a comment\nid: 4\n"
    assert len(decoder.feed(events * 50)) == 50
    assert len(decoder.feed(events * 50)) == 50


class CountedBytes(bytes):
    """Bytes that count what is searched for line ends; what is made from them is not counted."""

    searched = 0

    def split(self, *args: object, **kwargs: object) -> list[bytes]:
        type(self).searched += len(self)
        return super().split(*args, **kwargs)  # type: ignore[arg-type]


def test_a_long_line_in_small_pieces_is_searched_once() -> None:
    # A decoder that joins before it searches would search plain bytes, and count nothing here;
    # one that searches again would count more. The line itself grows in a bytearray.
    line = b"data: " + b"x" * 2_000_000 + b"\n\n"
    decoder = EventDecoder()
    decoder.feed(b": the byte order mark is behind us\n")
    pieces = [CountedBytes(line[at : at + 64]) for at in range(0, len(line), 64)]
    events = [event for piece in pieces for event in decoder.feed(piece)]
    assert [len(event.data) for event in events] == [2_000_000]
    assert CountedBytes.searched == len(line)


FRAGMENTS = st.sampled_from(
    b"data:|data: |data|event: ping|error: {}|{|}|[DONE]|:| |id: 1|retry|1".split(b"|")
) | st.sampled_from([b"\r", b"\n", b"\r\n", b"\n\n", BOM, BOM[:1], b"\0", b"\xff"])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(FRAGMENTS | st.binary(max_size=3), max_size=30).map(b"".join),
    st.lists(st.integers(0, 120), max_size=8),
)
def test_any_split_of_any_stream_equals_the_whole(stream: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(bounds)]
    assert events_of(*pieces) == events_of(stream)


@pytest.mark.parametrize("blank", [b"", b"\n", b"\r\n\r\n", b"  \n\t", BOM])
@pytest.mark.parametrize(
    "document", [b'{"error":{"code":500}}', b'[{"error":{}}]', b'{\n"a": 1\n}']
)
def test_a_json_body_is_one_event_at_every_split(blank: bytes, document: bytes) -> None:
    body = blank + document + b"\n"
    for at in range(len(body)):
        assert body_events(body[:at], body[at:]) == [Event(document)]


def test_a_json_body_over_the_cap_is_an_error() -> None:
    decoder = BodyDecoder(max_event_bytes=100)
    decoder.feed(b"{" + b" " * 90)
    with pytest.raises(UpstreamError) as caught:
        decoder.feed(b" " * 90)
    assert caught.value.code == "event_too_large"


@pytest.mark.parametrize("page", [b"<html>", b"\n\n <!doctype html>", BOM + b"<"])
def test_a_web_page_is_not_an_event_stream(page: bytes) -> None:
    for at in range(len(page)):
        with pytest.raises(UpstreamError) as caught:
            body_events(page[:at], page[at:])
        assert caught.value.category is Category.NOT_EVENT_STREAM


@pytest.mark.parametrize("body", [b"", b"\n\n", b"upstream connect error", b": comment\n\n"])
def test_a_body_without_events_gives_none(body: bytes) -> None:
    assert body_events(body) == []
