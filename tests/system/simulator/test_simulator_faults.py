"""Each fault does on the wire what its sentence says, and strikes no more often than it should."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import httpx
import pytest

from tests.wire import Reply, chat, post_raw, until
from worker.simulator import Simulator
from worker.simulator.completion import ground_truth
from worker.simulator.faults import FAULTS

SHORT = "sim-fast?tokens=20"
SILENT = ("stall-headers", "stall-first-token", "stall-mid", "comments")


def body(fault: str, more: str = "") -> dict[str, object]:
    return chat(f"{SHORT}&fault={fault}{more}")


def truth(request: dict[str, object]) -> str:
    return ground_truth(json.dumps(request).encode())[0, "content"]


def said(simulator: Simulator) -> str:
    """The content of choice 0, as the record of the last request has it."""
    parts = {(part.choice, part.channel): part.text for part in simulator.record.served[-1].output}
    return parts.get((0, "content")) or ""


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in SILENT])
async def test_every_fault_plays_and_is_recorded(base_url, simulator, name):
    failures: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, what: failures.append(what))
    await post_raw(base_url, body(name, "&every=0.0001&size=100"))
    assert simulator.record.served[-1].fault == name
    assert simulator.record.served[-1].end
    assert failures == []


@pytest.mark.parametrize(
    ("name", "end", "recorded"),
    [
        ("cut-eof", "whole", "clean"),
        ("cut-fin", "cut", "fin"),
        ("cut-rst", "reset", "rst"),
        ("cut-inside-event", "cut", "fin"),
    ],
)
async def test_a_cut_ends_the_connection_at_its_delta(base_url, simulator, name, end, recorded):
    request = body(name, "&at=5")
    reply = await post_raw(base_url, request)
    blocks = [block for block in reply.blocks if b'"finish_reason":null' in block]
    received = Reply(200, {}, b"\n\n".join(blocks), [], end).text
    assert reply.end == end
    assert (reply.done, b'"finish_reason":"stop"' in reply.body) == (0, False)
    assert truth(request).startswith(received)
    assert said(simulator) == received
    assert (simulator.record.served[-1].deltas, simulator.record.served[-1].end) == (5, recorded)


async def test_a_reset_waits_for_what_the_transport_still_holds(base_url, simulator):
    request = chat("sim-fast?tokens=60000&fault=cut-rst&at=50000")
    reply = await post_raw(base_url, request)
    assert reply.end == "reset"
    assert simulator.record.served[-1].deltas == 50_000
    assert simulator.record.served[-1].end == "rst"


async def test_a_cut_strikes_halfway_unless_told_where(base_url, simulator):
    await post_raw(base_url, body("cut-fin"))
    assert simulator.record.served[-1].deltas == 10
    await post_raw(base_url, body("cut-fin", "&at=0"))
    assert simulator.record.served[-1].deltas == 0


async def test_a_cut_inside_an_event_leaves_half_of_one(base_url):
    reply = await post_raw(base_url, body("cut-inside-event"))
    assert reply.body.endswith(b'"delta":{"content":"l')
    assert reply.chunks[-1] > 0


@pytest.mark.parametrize(
    ("name", "end"), [("cut-before-headers", "cut"), ("reset-before-headers", "reset")]
)
async def test_a_connection_can_end_before_the_headers(base_url, simulator, name, end):
    reply = await post_raw(base_url, body(name))
    assert (reply.status, reply.end) == (None, end)
    assert simulator.record.served[-1].status is None


async def test_a_reset_behind_the_finish_reason_loses_only_the_done(base_url):
    reply = await post_raw(base_url, body("cut-after-finish"))
    assert (reply.end, reply.finish_reasons, reply.done) == ("reset", ["stop"], 0)


@pytest.mark.parametrize(
    ("name", "finish_reasons", "done"),
    [("no-done", ["stop"], 0), ("done-only", [], 1), ("done-twice", ["stop"], 2)],
)
async def test_ends_lack_or_repeat_their_marks(base_url, name, finish_reasons, done):
    request = body(name)
    reply = await post_raw(base_url, request)
    assert (reply.finish_reasons, reply.done, reply.end) == (finish_reasons, done, "whole")
    assert reply.text == truth(request)


async def test_an_empty_stream_has_headers_and_nothing_else(base_url):
    reply = await post_raw(base_url, body("empty"))
    assert (reply.status, reply.body, reply.end) == (200, b"", "whole")


async def test_a_body_can_end_with_its_connection(base_url):
    request = body("close-delimited")
    reply = await post_raw(base_url, request)
    assert reply.headers["connection"] == "close"
    assert not {"content-length", "transfer-encoding"} & reply.headers.keys()
    assert reply.text == truth(request)


@pytest.mark.parametrize("name", ["stall-headers", "stall-first-token", "stall-mid"])
async def test_a_stall_is_silent_for_as_long_as_it_is_told(base_url, name):
    started = time.monotonic()
    reply = await post_raw(base_url, body(name, "&for=0.3"))
    assert time.monotonic() - started >= 0.29
    assert (reply.finish_reasons, reply.done) == (["stop"], 1)


@pytest.mark.parametrize("name", SILENT)
async def test_a_silence_without_an_end_lasts_until_the_client_leaves(base_url, simulator, name):
    async with httpx.AsyncClient(timeout=httpx.Timeout(5, read=0.3)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"{base_url}/chat/completions", json=body(name, "&every=1000"))
    await until(lambda: simulator.record.served[-1].end == "client")
    assert simulator.record.served[-1].deltas == (10 if name == "stall-mid" else 0)


async def test_comments_take_the_place_of_tokens_for_a_while(base_url):
    request = body("comments", "&for=0.2&every=0.05")
    reply = await post_raw(base_url, request)
    assert reply.blocks[:4] == [b": keep-alive"] * 4
    assert reply.text == truth(request)


async def test_a_drip_sends_single_bytes_at_its_own_pace(base_url):
    started = time.monotonic()
    reply = await post_raw(base_url, chat("sim-fast?tokens=0&fault=drip&every=0.0005"))
    assert set(reply.chunks) == {1, 0}
    assert time.monotonic() - started > len(reply.body) * 0.0004


@pytest.mark.parametrize("status", [302, 400, 418, 429, 500, 503, 524, 529, 599])
async def test_any_status_comes_with_an_error_in_openais_shape(base_url, status):
    reply = await post_raw(base_url, body(f"status-{status}", "&wait=2.5"))
    assert (reply.status, reply.headers["retry-after"]) == (status, "2.5")
    assert set(json.loads(reply.body)["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("name", "status", "expected"),
    [
        ("insufficient-quota", 429, b'"code":"insufficient_quota"'),
        ("context-length", 400, b'"code":"context_length_exceeded"'),
        ("content-filter", 400, b'"code":"ResponsibleAIPolicyViolation"'),
        ("request-too-large", 429, b"Request too large"),
        ("mistral-flat", 429, b'"raw_status_code":429'),
        ("tgi-string", 429, b'{"error":"Model is overloaded"'),
        ("litellm-none", 429, b'"type":"None"'),
        ("fastapi-detail", 422, b'"detail":['),
        ("html-502", 502, b"<html>"),
        ("json-error", 200, b'{"error":{'),
        ("json-list", 200, b'[{"error":{'),
        ("html", 200, b"<!doctype html>"),
    ],
)
async def test_a_refusal_speaks_as_its_provider_does(base_url, name, status, expected):
    reply = await post_raw(base_url, body(name) | {"stream": False})
    assert reply.status == status
    assert expected in reply.body


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("limit-seconds", lambda reply: float(reply.headers["retry-after"])),
        ("limit-ms", lambda reply: float(reply.headers["retry-after-ms"]) / 1000),
        (
            "limit-date",
            lambda reply: (
                parsedate_to_datetime(reply.headers["retry-after"])
                - parsedate_to_datetime(reply.headers["date"])
            ).total_seconds(),
        ),
        (
            "limit-reset",
            lambda reply: float(reply.headers["x-ratelimit-reset-requests"].removesuffix("s")),
        ),
        (
            "limit-epoch",
            lambda reply: float(reply.headers["x-ratelimit-reset"]) / 1e3 - time.time(),
        ),
        (
            "limit-message",
            lambda reply: float(re.findall(rb"try again in ([\d.]+)s\.", reply.body)[0]),
        ),
        (
            "limit-google",
            lambda reply: float(re.findall(rb'"retryDelay":"([\d.]+)s"', reply.body)[0]),
        ),
    ],
)
async def test_a_rate_limit_names_its_wait_in_one_place(
    base_url, name: str, where: Callable[[Reply], float]
):
    reply = await post_raw(base_url, body(name, "&wait=7"))
    assert reply.status == 429
    assert where(reply) == pytest.approx(7, abs=1)
    others = {"retry-after", "retry-after-ms"} & reply.headers.keys()
    assert len(others) <= 1


IN_STREAM = {
    "error-data": rb'data: \{"error":\{.*\n\ndata: \[DONE\]\n\n$',
    "error-code-int": rb'"code":500\}\}\n\ndata: \[DONE\]\n\n$',
    "error-event": rb'event: error\ndata: \{"error":\{',
    "error-event-bare": rb'event: error\ndata: \{"code":"rate_limit_exceeded"',
    "error-anthropic": rb'event: error\ndata: \{"type":"error","error":\{"type":"overloaded_error"',
    "error-responses": rb'data: \{"type":"error","code":"rate_limit_exceeded"',
    "error-flat": rb'data: \{"object":"error"',
    "error-string": rb'data: \{"error":"Model',
    "error-list": rb'data: \[\{"error":\{',
    "error-field": rb'\n\nerror: \{"code":500.*\n\ndata: \[DONE\]\n\n$',
    "error-tgi": rb'"http_status_code":422',
    "error-litellm": rb'"code":"500"\}\}\n\n$',
    "error-azure": rb'"innererror":\{"code":"ResponsibleAIPolicyViolation"\}',
    "error-metadata": rb'"metadata":\{"raw":',
    "error-nested": rb'"message":"\{\\"error\\":',
    "error-detail": rb'data: \{"detail":',
    "error-groq": rb'"x_groq":\{"id":"req_simulated","error":"over capacity"\}',
    "error-openrouter": rb'"finish_reason":"error"\}\],"error":\{"code":"server_error"',
    "error-network": rb'"native_finish_reason":"network_error"',
    "error-ollama": rb'"delta":\{"role":"assistant","content":""\}.*\n\n$',
    "finish-insufficient_system_resource": rb'"finish_reason":"insufficient_system_resource"',
}


@pytest.mark.parametrize("name", IN_STREAM)
async def test_an_error_comes_in_mid_stream_under_status_200(base_url, simulator, name):
    reply = await post_raw(base_url, body(name, "&at=4"))
    assert (reply.status, reply.end) == (200, "whole")
    assert re.search(IN_STREAM[name], reply.body)
    assert simulator.record.served[-1].deltas == 4


async def test_a_late_error_stands_between_finish_reason_and_done(base_url):
    reply = await post_raw(base_url, body("late-error"))
    finish, error, done = reply.blocks[-3:]
    assert b'"finish_reason":"stop"' in finish
    assert error.startswith(b'data: {"error":')
    assert done == b"data: [DONE]"


async def test_a_fault_strikes_the_first_request_of_a_conversation_only(base_url, simulator):
    statuses = [(await post_raw(base_url, body("status-503"))).status for _ in range(3)]
    other = await post_raw(base_url, body("status-503") | {"messages": [{"role": "user"}]})
    assert [*statuses, other.status] == [503, 200, 200, 503]
    assert simulator.record.summary().faults == {"status-503": 2}


@pytest.mark.parametrize(
    ("more", "expected"), [("&times=2", [503, 503, 200]), ("&times=all", [503, 503, 503])]
)
async def test_times_says_how_often_a_fault_strikes(base_url, more, expected):
    request = body("status-503", more)
    assert [(await post_raw(base_url, request)).status for _ in range(3)] == expected


async def test_a_key_or_a_job_names_the_conversation(base_url):
    jobs = [{"x-deltaworks-job": job} for job in ("a", "b", "a")]
    request = body("status-503")
    assert [(await post_raw(base_url, request, job)).status for job in jobs] == [503, 503, 200]
    keyed = [body("status-503", "&key=k") | {"messages": [{"n": n}]} for n in range(2)]
    assert [(await post_raw(base_url, one)).status for one in keyed] == [503, 200]


async def test_faults_of_streams_leave_whole_answers_alone(base_url, simulator):
    reply = await post_raw(base_url, body("cut-rst") | {"stream": False})
    assert (reply.status, simulator.record.served[-1].fault) == (200, "")


async def test_a_key_is_required_only_where_the_model_says_so(base_url):
    bearer = {"authorization": "Bearer anything"}
    assert (await post_raw(base_url, chat(SHORT))).status == 200
    assert (await post_raw(base_url, body("auth-required"))).status == 401
    assert (await post_raw(base_url, body("auth-required"), bearer)).status == 200
