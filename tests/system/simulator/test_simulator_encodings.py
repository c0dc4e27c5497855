"""Odd bytes carry the same text: what a careful decoder makes of them is the recorded truth."""

import gzip
import json
import zlib

import pytest

from tests.wire import Reply, chat, joined, post_raw
from worker.simulator import Simulator
from worker.simulator.completion import ground_truth


def body(fault: str, more: str = "") -> dict[str, object]:
    return chat(f"sim-fast?tokens=20&fault={fault}{more}", stream_options={"include_usage": True})


def truth(request: dict[str, object]) -> str:
    return ground_truth(json.dumps(request).encode())[0, "content"]


def said(simulator: Simulator) -> str | None:
    (part,) = simulator.record.served[-1].output
    return part.text


def normalized(reply: Reply, data: bytes) -> str:
    return Reply(200, {}, data, [], reply.end).text


@pytest.mark.parametrize(("name", "newline"), [("crlf", b"\r\n"), ("cr", b"\r")])
async def test_lines_end_as_the_fault_says(base_url, simulator, name, newline):
    request = body(name)
    reply = await post_raw(base_url, request)
    assert reply.body.endswith(b"data: [DONE]" + newline * 2)
    assert normalized(reply, reply.body.replace(newline, b"\n")) == truth(request)


async def test_split_bytes_arrive_one_by_one(base_url):
    request = body("split-bytes")
    reply = await post_raw(base_url, request)
    assert set(reply.chunks) == {1, 0}
    assert reply.text == truth(request)


async def test_a_byte_order_mark_comes_first(base_url):
    request = body("bom")
    reply = await post_raw(base_url, request)
    assert reply.body.startswith(b"\xef\xbb\xbfdata: ")
    assert normalized(reply, reply.body[3:]) == truth(request)


async def test_an_event_spreads_over_two_data_lines(base_url):
    request = body("multi-line")
    reply = await post_raw(base_url, request)
    assert b'\ndata:,"choices"' in reply.body
    assert normalized(reply, reply.body.replace(b"\ndata:,", b",")) == truth(request)


async def test_events_carry_ids_and_are_followed_by_comments(base_url):
    request = body("ids")
    reply = await post_raw(base_url, request)
    assert reply.blocks[0].startswith(b"id: 1\nretry: 3000\ndata: ")
    assert reply.blocks[1] == b": keep-alive"
    plain = reply.body.replace(b"id: 1\nretry: 3000\n", b"").replace(b": keep-alive\n\n", b"")
    assert normalized(reply, plain) == truth(request)


async def test_pings_come_with_and_without_data(base_url):
    reply = await post_raw(base_url, body("pings"))
    pings = [block for block in reply.blocks if block.startswith((b"event: ping", b": ping"))]
    assert pings[:4] == [
        b"event: ping",
        b'event: ping\ndata: {"type":"ping"}',
        b"event: ping\ndata: pong",
        b": ping",
    ]


@pytest.mark.parametrize(
    ("name", "raw", "inserted"),
    [
        ("u2028", "a\u2028b\u2029c\u0085d".encode(), "a\u2028b\u2029c\u0085d\x7fe"),
        ("surrogates", rb'"\ud83d"', "🙂"),
        ("lone-surrogate", rb'"a\ud83d"', "a\ufffdb"),
        ("nul", rb"a\u0000b", "a\0b"),
        ("null-content", b'"content":null', ""),
        ("huge-event", b"xxxxx", "x" * 1000),
    ],
)
async def test_an_odd_delta_is_part_of_the_truth(base_url, simulator, name, raw, inserted):
    reply = await post_raw(base_url, body(name, "&size=1000"))
    assert raw in reply.body
    assert inserted in reply.text
    assert said(simulator) == reply.text


async def test_filter_chunks_without_a_delta_come_between_and_after_the_others(base_url):
    request = body("azure-chunks")
    reply = await post_raw(base_url, request)
    assert b"prompt_filter_results" in reply.blocks[0]
    last_filter = reply.body.rindex(b"content_filter_offsets")
    assert last_filter > reply.body.index(b'"finish_reason":"stop"')
    assert reply.text == truth(request)


async def test_malformed_json_stands_amid_the_deltas(base_url):
    reply = await post_raw(base_url, body("malformed-json"))
    broken = [block for block in reply.blocks if b"oops" in block]
    assert len(broken) == 1
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken[0].removeprefix(b"data: "))


async def test_usage_can_be_withheld(base_url):
    documents = (await post_raw(base_url, body("usage-missing"))).documents
    assert all(document["usage"] is None for document in documents)
    assert joined(documents).startswith("[simulated]")


async def test_a_content_type_can_be_missing(base_url):
    assert "content-type" not in (await post_raw(base_url, body("no-content-type"))).headers


async def test_a_stream_can_be_gzipped_whatever_was_accepted(base_url):
    request = body("gzip")
    reply = await post_raw(base_url, request, {"accept-encoding": "identity"})
    assert reply.headers["content-encoding"] == "gzip"
    assert normalized(reply, gzip.decompress(reply.body)) == truth(request)


async def test_a_gzipped_stream_can_stop_behind_a_proper_end_of_body(base_url):
    reply = await post_raw(base_url, body("gzip-cut"))
    assert reply.end == "whole"
    decompressor = zlib.decompressobj(wbits=31)
    assert b"[simulated]" in decompressor.decompress(reply.body)
    assert not decompressor.eof


async def test_a_whole_completion_can_come_where_a_stream_was_asked_for(base_url):
    request = body("json-completion")
    reply = await post_raw(base_url, request)
    answer = json.loads(reply.body)
    assert answer["choices"][0]["message"]["content"] == truth(request)
