"""A call is sent again where that may help, unchanged, and no longer than patience lasts."""

import asyncio
import json
import pickle
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any, cast

import httpx
import pytest
import trustme

from tests.clients import Clock
from tests.upstream_server import saying, serving
from worker.client import (
    APIError,
    AsyncClient,
    Client,
    ClientError,
    Conflict,
    ConnectionFailed,
    Denied,
    InvalidRequest,
    Job,
    JobFailed,
    NotFound,
    RateLimited,
    ServerFailed,
    Unauthorized,
    calls,
)
from worker.client.answers import error_of
from worker.client.exchange import Exchange, ManySubmitted
from worker.client.patience import LONGEST_S, Patience

URL = "http://user:hunter2@gateway.example:8080/v1/jobs"
KEY = "dw_canary-key"
PROMPT = "canary prompt"
BODY = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}


def answer(status: int, document: object = None, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, json=document, headers=named)


def refusal(status: int, code: str | None = None, type: str = "", **headers: str) -> httpx.Response:
    error = {"message": f"no: {status}", "type": type, "param": None, "code": code}
    return answer(status, {"error": error}, **headers)


def no_answer(kind: type[httpx.RequestError] = httpx.ReadError) -> httpx.RequestError:
    request = httpx.Request("POST", URL, headers={"authorization": f"Bearer {KEY}"}, json=BODY)
    return kind("words", request=request)


def ended(state: str) -> Job:
    """As much of a job object as an error looks at."""
    return cast(Job, {"id": "j", "state": state, "error": None, "output_text": PROMPT})


def exchange(patience_s: float = 10.0, clock: Clock | None = None) -> Exchange[Any]:
    return Exchange(calls.submit(BODY, {}), Patience(patience_s, clock=clock or Clock()))


@pytest.mark.parametrize(
    ("status", "kind", "transient"),
    [
        (400, InvalidRequest, False),
        (401, Unauthorized, False),
        (403, Denied, False),
        (404, NotFound, False),
        (405, APIError, False),
        (408, APIError, True),
        (409, Conflict, False),
        (413, InvalidRequest, False),
        (429, RateLimited, True),
        (500, ServerFailed, True),
        (503, ServerFailed, True),
    ],
)
def test_the_status_says_what_kind_of_error_it_is_and_whether_it_may_pass(
    status: int, kind: type[APIError], transient: bool
) -> None:
    error = error_of(refusal(status, "a_code"))
    assert type(error) is kind and error.transient is transient
    assert (error.status, error.code, str(error)) == (status, "a_code", f"no: {status}")


def test_the_server_has_the_last_word_on_whether_to_come_again() -> None:
    assert error_of(refusal(503, x_should_retry="false")).transient is False
    assert error_of(refusal(409, x_should_retry="true")).transient is True


def test_what_is_not_the_gateways_is_not_quoted() -> None:
    for content in (f"<html>{PROMPT}</html>", f'{{"error": "{PROMPT}"}}', "[1]", ""):
        error = error_of(httpx.Response(502, text=content))
        assert str(error) == "HTTP 502, and not by a Deltaworks gateway" and error.transient


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        ({"retry_after": "7", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-3"}, 0),
        ({"retry_after": formatdate(0, usegmt=True)}, 0),
        ({}, None),
    ],
)
def test_the_wait_is_read_in_every_form(headers: dict[str, str], seconds: float | None) -> None:
    assert error_of(refusal(429, **headers)).retry_after_s == seconds


def test_a_wait_until_a_moment_is_counted_from_now() -> None:
    until = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    asked = error_of(refusal(429, retry_after=until)).retry_after_s
    assert asked is not None and 85 < asked <= 90


def test_it_is_sent_again_unchanged_until_it_is_answered() -> None:
    sending = exchange()
    assert sending.pause_s() == 0
    sent = sending.call
    for failure in (no_answer(), refusal(503), refusal(429)):
        if isinstance(failure, httpx.Response):
            sending.hear(failure)
        else:
            sending.lost(failure)
        assert (sending.pause_s() or 0) > 0
        assert sending.call is sent
    sending.hear(answer(201, {"id": "job"}))
    assert sending.pause_s() is None
    assert sending.result == {"id": "job"}


def test_a_submit_bears_an_idempotency_key_the_callers_or_a_new_one() -> None:
    def key(**fields: object) -> str:
        content = calls.submit(BODY, fields).content
        assert content is not None
        found: str = json.loads(content)["idempotency_key"]
        return found

    assert key(idempotency_key="mine", lane=None) == "mine"
    assert key() != key() and key(idempotency_key=None).startswith("client_")
    assert calls.retry("job", None).headers["idempotency-key"].startswith("client_")


def test_pauses_double_and_vary_up_to_the_longest() -> None:
    patience = Patience(1000, clock=Clock())
    for number in range(12):
        patience.failed(ClientError())
        whole = min(0.25 * 2**number, LONGEST_S)
        assert whole / 2 <= patience.pause_s() <= whole
    patience.succeeded()
    assert patience.pause_s() == 0


def test_patience_ends_with_the_last_failure() -> None:
    clock = Clock()
    sending = exchange(10, clock)
    sending.hear(refusal(503))
    clock.now += 9.9
    assert 0 < (sending.pause_s() or 0) <= 0.11, "the last pause ends with patience"
    clock.now += 0.2
    with pytest.raises(ServerFailed):
        sending.pause_s()
    once = exchange(0)
    once.lost(no_answer())
    with pytest.raises(ConnectionFailed):
        once.pause_s()


def test_a_wait_that_was_asked_for_is_kept_unless_it_is_longer_than_patience() -> None:
    sending = exchange(10)
    sending.hear(refusal(429, retry_after="6"))
    assert sending.pause_s() == 6
    sending.hear(refusal(429, retry_after="11"))
    with pytest.raises(RateLimited) as failure:
        sending.pause_s()
    assert failure.value.retry_after_s == 11


def test_what_cannot_succeed_is_raised_at_once() -> None:
    with pytest.raises(Conflict):
        exchange().hear(refusal(409))
    for broken in (httpx.UnsupportedProtocol, httpx.LocalProtocolError):
        with pytest.raises(ConnectionFailed):
            exchange().lost(no_answer(broken))


async def test_a_certificate_that_cannot_be_trusted_is_not_tried_again() -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    async with serving(saying(b"HTTP/1.1 200 OK\r\n\r\n"), tls) as server:
        address = f"https://127.0.0.1:{server.port}"
        async with asyncio.timeout(10), AsyncClient(address) as client:
            with pytest.raises(ConnectionFailed, match="ConnectError"):
                await client.get("job")
        with Client(address) as other, pytest.raises(ConnectionFailed, match="ConnectError"):
            await asyncio.to_thread(list, other.follow("job"))


@pytest.mark.parametrize("content", ["<html>", "3", "[]", "{}"])
def test_an_answer_that_is_none_of_the_api_is_an_error(content: str) -> None:
    listing = Exchange(calls.listing({}), Patience(10))
    with pytest.raises(APIError, match="does the base_url name a Deltaworks gateway") as failure:
        listing.hear(httpx.Response(200, text=content))
    assert failure.value.code == "unexpected_answer"


def entry(code: str, type: str) -> dict[str, object]:
    error = {"message": code, "type": type, "param": None, "code": code}
    return {"object": "error", "error": error}


def job(id: str) -> dict[str, object]:
    return {"object": "job", "id": id}


def keys_of(sending: ManySubmitted) -> list[str]:
    return [each["idempotency_key"] for each in json.loads(sending.call.content or b"")["jobs"]]


def test_of_many_those_that_a_passing_fault_refused_are_sent_again_with_their_keys() -> None:
    sending = ManySubmitted([{"request": BODY}] * 4, Patience(10))
    keys = keys_of(sending)
    away = entry("store_away", "server_error")
    invalid = entry("invalid_value", "invalid_request_error")
    sending.hear(answer(200, {"data": [job("a"), away, invalid, away]}))
    assert (sending.pause_s() or 0) > 0
    assert keys_of(sending) == [keys[1], keys[3]]
    sending.lost(no_answer())
    sending.hear(answer(200, {"data": [away, job("d")]}))
    assert keys_of(sending) == [keys[1]]
    sending.hear(answer(200, {"data": [job("b")]}))

    assert sending.pause_s() is None
    first, second, third, fourth = sending.result
    assert (first, second, fourth) == (job("a"), job("b"), job("d"))
    assert isinstance(third, InvalidRequest)


def test_of_many_those_that_stay_refused_are_told_when_patience_ends() -> None:
    clock = Clock()
    sending = ManySubmitted([{"request": BODY}] * 2, Patience(10, clock=clock))
    full = entry("rate_limit_exceeded", "rate_limit_error")
    sending.hear(answer(200, {"data": [job("a"), full]}))
    clock.now += 11
    sending.hear(refusal(503))
    assert sending.pause_s() is None
    assert sending.result[0] == job("a") and isinstance(sending.result[1], RateLimited)

    unheard = ManySubmitted([{"request": BODY}], Patience(0))
    unheard.hear(refusal(503))
    with pytest.raises(ServerFailed):
        unheard.pause_s()


def test_neither_key_nor_prompt_nor_password_is_shown() -> None:
    sending = exchange(0)
    sending.lost(no_answer())
    with pytest.raises(ConnectionFailed) as failure:
        sending.pause_s()
    call = calls.submit(BODY, {"metadata": {"a": "b"}})
    failed = JobFailed(ended("failed"))
    with Client("http://user:hunter2@gateway.example/prefix", KEY) as client:
        shown = [repr(client), repr(call), repr(failure.value), str(failure.value), repr(failed)]
    assert shown[0] == "Client('http://gateway.example/prefix')"
    assert str(failure.value) == "no answer from http://gateway.example:8080: ReadError"
    for text in shown:
        assert KEY not in text and PROMPT not in text and "hunter2" not in text


def test_errors_pass_through_task_queues() -> None:
    error = error_of(refusal(429, "rate_limit_exceeded", retry_after="3"))
    error.cursor = "1-7"
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is RateLimited and vars(again) == vars(error)
    failed = JobFailed(ended("cancelled"))
    assert str(pickle.loads(pickle.dumps(failed))) == "job j is cancelled"


def test_what_the_client_is_told_is_checked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DELTAWORKS_BASE_URL", raising=False)
    wrong = [
        ((), "base_url: is missing"),
        (("gateway.example",), "base_url: is no address"),
        (("ftp://gateway.example",), "base_url: is no address"),
        (("http://gateway.example:port",), "base_url: is no address"),
        (("http://gateway.example", "dw_a\nb"), "api_key: has characters"),
    ]
    for arguments, message in wrong:
        with pytest.raises(ValueError, match=message) as refused:
            Client(*arguments)
        assert "dw_a" not in str(refused.value)


def test_a_job_request_may_hold_moments_and_any_text() -> None:
    moment = datetime(2030, 1, 31, 22, tzinfo=UTC)
    content = calls.submit({**BODY, "user": "half \ud800"}, {"scheduled_at": moment}).content
    assert content is not None
    sent = json.loads(content)
    assert sent["scheduled_at"] == "2030-01-31T22:00:00+00:00"
    assert sent["request"]["user"] == "half \ud800"
    with pytest.raises(TypeError, match="cannot hold set"):
        calls.submit({"stop": {1}}, {})
