"""What one request to an upstream has cost, by what came of it over a real socket."""

import json
from collections.abc import Mapping
from contextlib import suppress

import pytest

from models import Attempt, Job
from tests.jobs import attempt
from tests.servers import free_port
from tests.upstream_server import saying, serving
from worker.catalog import Catalog, Price, Upstream
from worker.costs import spent_on, spent_on_lost
from worker.errors import UpstreamError
from worker.upstream import Exchange, Limits, Request, open_client

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
# A million of everything costs a different digit.
PRICES = {"m*": Price(input=1e6, cached_input=1e4, output=1e8)}
# 40 characters of text, and a message around them.
BODY: dict[str, object] = {"model": "m", "messages": [{"role": "user", "content": "x" * 40}]}
PROMPT = 10 + 4
PATIENT = Limits(
    first_byte_s=9, first_token_s=9, token_gap_s=9, attempt_s=9, end_grace_s=9, left_s=9
)


def said(content: str, finish: str | None = None) -> bytes:
    return data(choices=[{"index": 0, "delta": {"content": content}, "finish_reason": finish}])


def data(**document: object) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def usage(prompt: int, output: int, cached: int | None = None) -> bytes:
    counts: dict[str, object] = {"prompt_tokens": prompt, "completion_tokens": output}
    if cached is not None:
        counts["prompt_tokens_details"] = {"cached_tokens": cached}
    return data(choices=[], usage=counts)


def refused(status: str) -> bytes:
    error = json.dumps({"error": {"message": "no", "code": "nope"}}).encode()
    return b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status.encode(), len(error), error)


DONE = b"data: [DONE]\n\n"


async def asked(
    port: int, prices: Mapping[str, Price] = PRICES, limits: Limits = PATIENT
) -> Exchange:
    """The exchange, at its end, whatever that was."""
    upstream = Upstream(name="up", base_url=f"http://127.0.0.1:{port}/v1", prices=prices)
    async with open_client(5) as client:
        request = Request(upstream, BODY, "job", 1)
        exchange = Exchange(client, request, 1_000_000, lambda _headers, *, clean: None)
        with suppress(UpstreamError):
            await exchange.run(limits, lambda: None)
    return exchange


async def spent(*pieces: bytes, prices: Mapping[str, Price] = PRICES) -> float | None:
    async with serving(saying(*pieces, close=True)) as server:
        return spent_on(await asked(server.port, prices), "m")


@pytest.mark.parametrize(
    ("told", "cost"),
    [
        (usage(20, 3), 20 + 300),
        (usage(20, 3, cached=15), 5 + 0.15 + 300),
        (usage(20, 3, cached=21), 20 + 300),
        (usage(-20, 3), PROMPT + 300),
        (data(choices=[], usage={"total_tokens": 23}), PROMPT + 300),
        (data(choices=[], usage={"prompt_tokens": 20, "completion_tokens": "3"}), 20 + 300),
        (b"", PROMPT + 300),
    ],
)
async def test_an_answer_costs_what_its_usage_tells_and_an_estimate_of_what_it_does_not(
    told: bytes, cost: float
) -> None:
    assert await spent(HEAD, said("nine char", "stop"), told, DONE) == pytest.approx(cost)


async def test_a_stream_that_broke_off_costs_its_prompt_and_what_was_received() -> None:
    assert await spent(HEAD, said("x" * 8)) == pytest.approx(PROMPT + 200)
    assert await spent(HEAD, said("x" * 9)) == pytest.approx(PROMPT + 300)
    error = data(error={"message": "too much", "code": 503})
    assert await spent(HEAD, said("x" * 8), error) == pytest.approx(PROMPT + 200)


async def test_a_usage_that_came_before_the_stream_broke_off_counts() -> None:
    assert await spent(HEAD, usage(20, 1), said("x" * 40)) == pytest.approx(20 + 100)


async def test_a_stream_that_began_and_said_nothing_costs_its_prompt() -> None:
    assert await spent(HEAD) == pytest.approx(PROMPT)
    assert await spent(HEAD, said("")) == pytest.approx(PROMPT)


@pytest.mark.parametrize(
    "answer",
    [
        refused("400 Bad Request"),
        refused("429 Too Many Requests"),
        refused("503 Service Unavailable"),
        refused("200 OK"),
        HEAD + data(error={"message": "overloaded", "code": 503}),
        HEAD + said("") + data(error={"message": "overloaded", "code": 503}),
        HEAD + b"<html>log in</html>",
        b"",
    ],
    ids=["400", "429", "503", "200", "first words", "no words", "web page", "no answer"],
)
async def test_a_refusal_costs_nothing(answer: bytes) -> None:
    assert await spent(answer) == 0.0


async def test_a_host_that_is_away_and_one_that_never_answers_cost_nothing() -> None:
    assert spent_on(await asked(free_port()), "m") == 0.0
    hasty = Limits(
        first_byte_s=0.05, first_token_s=9, token_gap_s=9, attempt_s=9, end_grace_s=9, left_s=9
    )
    async with serving(saying()) as server:
        assert spent_on(await asked(server.port, limits=hasty), "m") == 0.0


async def test_without_a_price_or_a_request_nothing_is_known() -> None:
    answer = HEAD, said("hello", "stop"), usage(20, 3), DONE
    assert await spent(*answer, prices={}) is None
    assert await spent(*answer, prices={"n*": PRICES["m*"]}) is None
    assert spent_on(None, "m") is None


def lost(length: int) -> Attempt:
    return attempt(Job(id="job", attempt=1), upstream="up", length=length)


def test_an_attempt_that_died_with_its_worker_costs_what_its_log_tells() -> None:
    job = Job(id="job", attempt=2, model="m", request=BODY)
    upstream = Upstream(name="up", base_url="http://up/v1", prices=PRICES)
    known, unknown = Catalog((upstream,)), Catalog(())
    assert spent_on_lost(known, job, lost(8)) == pytest.approx(PROMPT + 200)
    assert spent_on_lost(known, job, lost(0)) == 0.0
    assert spent_on_lost(unknown, job, lost(8)) is None
