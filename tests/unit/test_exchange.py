"""The verdict on an answer is one on all that arrived, and falls when no more is to be expected."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.upstream_server import Answer, Writer, saying, serving
from worker.catalog import Upstream
from worker.errors import Category, UpstreamError
from worker.stream.transcript import Verdict
from worker.upstream import Exchange, Limits, Request, open_client

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
SIZED = HEAD + b"Content-Length: 5000\r\n\r\n"
UNTIL_CLOSED = HEAD + b"Connection: close\r\n\r\n"
PATIENT = Limits(
    first_byte_s=9, first_token_s=9, token_gap_s=9, attempt_s=9, end_grace_s=9, left_s=9
)
DONE = b"data: [DONE]\n\n"
OUT_OF_CREDIT = b'{"error":{"code":"insufficient_quota","message":"pay first"}}'
ERROR_BEGUN = b'event: error\ndata: {"error":{"type":"server_error","message":"x"}}\n'


def said(content: str | None, finish: str | None = None, choice: int = 0) -> bytes:
    delta = {} if content is None else {"content": content}
    return event(choices=[{"index": choice, "delta": delta, "finish_reason": finish}])


def event(**document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def completion(text: str) -> bytes:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"object": "chat.completion", "choices": [choice]}).encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def stay(_: Writer) -> None:
    """Say nothing more."""


async def close(writer: Writer) -> None:
    writer.close()


async def reset(writer: Writer) -> None:
    await asyncio.sleep(0.02)  # what was said is to arrive before
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def ending(said: bytes, end: Callable[[Writer], Awaitable[None]]) -> Answer:
    async def answer(writer: Writer) -> None:
        writer.write(said)
        await writer.drain()
        await end(writer)

    return answer


def paced(*steps: bytes | float) -> Answer:
    """Say these, with a pause of so many seconds where a number stands."""

    async def answer(writer: Writer) -> None:
        writer.write(UNTIL_CLOSED)
        for step in steps:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            else:
                await asyncio.sleep(step)

    return answer


async def outcome(
    answer: Answer, limits: dict[str, float] | None = None, **body: object
) -> tuple[Exchange, Verdict | UpstreamError]:
    """The exchange at its end, and what was said of it."""
    async with serving(answer) as server, open_client(5) as client:
        upstream = Upstream(name="up", base_url=f"http://127.0.0.1:{server.port}/v1")
        request = Request(upstream, {"model": "m", "messages": [], **body}, "job", 1)
        exchange = Exchange(client, request, 1_000_000, lambda _headers, *, clean: None)
        patience = msgspec.structs.replace(PATIENT, **limits or {})
        try:
            async with asyncio.timeout(8):
                return exchange, await exchange.run(patience, lambda: None)
        except UpstreamError as error:
            return exchange, error


async def failure(answer: Answer, limits: dict[str, float] | None = None) -> UpstreamError:
    _, error = await outcome(answer, limits)
    assert isinstance(error, UpstreamError)
    return error


def contents(exchange: Exchange) -> list[object]:
    return [message["content"] for message in exchange.transcript.output()]


# When the verdict falls -----------------------------------------------------------------------


async def test_a_choice_that_begins_after_another_has_ended_is_heard_to_its_end() -> None:
    words = [step for _ in range(8) for step in (said("b", choice=1), 0.05)]
    answer = paced(said("a", "stop"), 0.03, *words, said(None, "stop", 1), DONE)
    exchange, verdict = await outcome(answer, {"end_grace_s": 0.3})
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["a", "b" * 8])


async def test_every_finish_reason_begins_the_grace_anew() -> None:
    answers = [step for n in range(4) for step in (said("a", "stop", n), 0.15)]
    exchange, verdict = await outcome(paced(*answers), {"end_grace_s": 0.4})
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["a"] * 4)


async def test_a_choice_that_begins_and_falls_silent_is_a_timeout_between_tokens() -> None:
    answer = paced(said("a", "stop"), said("b", choice=1))
    error = await failure(answer, {"end_grace_s": 0.05, "token_gap_s": 0.1})
    assert (error.category, error.code) == (Category.TIMEOUT, "token_gap_timeout")


async def test_a_pause_before_all_choices_asked_for_have_ended_is_no_end() -> None:
    answer = paced(said("a", "stop"), 0.2, said("b", "stop", 1))
    exchange, verdict = await outcome(answer, {"end_grace_s": 0.05}, n=2)
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["a", "b"])


@pytest.mark.parametrize("end", [stay, close, reset])
@pytest.mark.parametrize("last", [b"", chunk(DONE)])
async def test_fewer_choices_than_were_asked_for_are_an_answer_all_the_same(
    last: bytes, end: Callable[[Writer], Awaitable[None]]
) -> None:
    answer = ending(CHUNKED + chunk(said("a", "stop")) + last, end)
    exchange, verdict = await outcome(answer, {"token_gap_s": 0.2}, n=2)
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["a"])


async def test_one_choice_that_has_ended_gets_the_grace_and_no_more() -> None:
    exchange, verdict = await outcome(paced(said("a", "stop")), {"end_grace_s": 0.05}, n=None)
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["a"])


# What arrived, and then the way broke ---------------------------------------------------------


@pytest.mark.parametrize("end", [stay, close, reset])
@pytest.mark.parametrize("head", [CHUNKED, SIZED])
async def test_an_error_without_its_blank_line_wins_over_how_the_stream_ends(
    head: bytes, end: Callable[[Writer], Awaitable[None]]
) -> None:
    data = said("a", "stop") + ERROR_BEGUN
    answer = ending(head + (chunk(data) if head is CHUNKED else data), end)
    error = await failure(answer, {"end_grace_s": 0.1})
    assert (error.category, error.code) == (Category.SERVER, "server_error")


@pytest.mark.parametrize("end", [stay, close, reset])
async def test_an_error_document_is_one_though_the_body_was_to_be_longer(
    end: Callable[[Writer], Awaitable[None]],
) -> None:
    answer = ending(SIZED + OUT_OF_CREDIT, end)
    exchange, error = await outcome(answer, {"first_token_s": 0.1})
    assert isinstance(error, UpstreamError)
    assert (error.category, error.code) == (Category.BILLING, "insufficient_quota")
    assert not exchange.begun


@pytest.mark.parametrize("end", [stay, close, reset])
async def test_a_completion_in_one_document_is_whole_with_its_last_brace(
    end: Callable[[Writer], Awaitable[None]],
) -> None:
    answer = ending(SIZED + completion("hello"), end)
    exchange, verdict = await outcome(answer, {"first_token_s": 0.1})
    assert (verdict, contents(exchange)) == (Verdict.COMPLETE, ["hello"])


@pytest.mark.parametrize(("end", "code"), [(close, "stream_truncated"), (reset, "connection_lost")])
@pytest.mark.parametrize("data", [completion("hello")[:-1], said(None, "stop")[:-1], DONE[:-1]])
async def test_what_was_broken_off_proves_nothing(
    data: bytes, end: Callable[[Writer], Awaitable[None]], code: str
) -> None:
    error = await failure(ending(SIZED + data, end))
    assert (error.category, error.code) == (Category.TRUNCATED, code)


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (said("a") + DONE, Verdict.UNVERIFIED),
        (said("a", "stop") + DONE, Verdict.COMPLETE),
        (said("a"), Category.TRUNCATED),
        (said("a") + event(error={"code": "slow_down", "message": "x"}), Category.RATE_LIMIT),
    ],
)
async def test_a_breach_of_the_protocol_is_the_same_in_one_read_and_in_two(
    events: bytes, expected: Verdict | Category, apart: bool
) -> None:
    pieces = [CHUNKED, chunk(events), b"no chunk\r\n"]

    async def answer(writer: Writer) -> None:
        for piece in pieces if apart else [b"".join(pieces)]:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.03)

    _, found = await outcome(answer)
    assert (found.category if isinstance(found, UpstreamError) else found) is expected


@pytest.mark.parametrize(
    "body",
    [
        completion("hello"),
        said("hello", "stop")[:-1],
        said("hello") + event(error={"message": "x"}),
    ],
    ids=["document", "without its blank line", "with an error in one read"],
)
async def test_text_that_only_the_end_brings_has_its_moment_too(body: bytes) -> None:
    exchange, _ = await outcome(saying(UNTIL_CLOSED + body, close=True))
    assert exchange.transcript.output_text == "hello"
    assert exchange.first_delta_at is not None


async def test_an_answer_without_a_character_has_no_first_one() -> None:
    exchange, _ = await outcome(saying(UNTIL_CLOSED + said(None, "stop"), close=True))
    assert exchange.first_delta_at is None
