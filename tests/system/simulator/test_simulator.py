"""The simulator speaks OpenAI's protocol, byte for byte where a client could notice."""

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.wire import chat, encoded, joined, post_raw
from worker.simulator import Simulator

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {}}} for name in ("look", "fetch")
]


async def whole(client: httpx.AsyncClient, model: str, **more: object) -> Any:
    body = chat(model) | more | {"stream": False}
    answer = await client.post("/chat/completions", json=body)
    assert answer.status_code == 200
    return answer.json()


async def test_a_stream_has_a_role_chunk_then_deltas_then_a_finish_chunk_then_done(base_url):
    reply = await post_raw(base_url, chat("sim-fast?tokens=20"))
    first, *deltas, finish = reply.documents
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert all(list(chunk["choices"][0]["delta"]) == ["content"] for chunk in deltas)
    assert len(deltas) == 20
    assert finish["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "stop",
    }
    assert reply.blocks[-1] == b"data: [DONE]"
    assert reply.end == "whole"


async def test_every_chunk_names_the_same_completion_and_says_that_it_is_simulated(base_url):
    reply = await post_raw(base_url, chat("sim-fast"))
    assert len({chunk["id"] for chunk in reply.documents}) == 1
    for chunk in reply.documents:
        assert chunk["id"].startswith("chatcmpl-")
        assert chunk["object"] == "chat.completion.chunk"
        assert chunk["model"] == "sim-fast"
        assert chunk["system_fingerprint"] == "fp_simulated"
        assert "usage" not in chunk
    assert reply.text.startswith("[simulated]")


async def test_each_event_is_an_http_chunk_of_its_own(base_url):
    reply = await post_raw(base_url, chat("sim-fast?tokens=5"))
    assert reply.chunks == [*(len(block) + 2 for block in reply.blocks), 0]


async def test_headers_look_like_openais(base_url, simulator):
    reply = await post_raw(base_url, chat("sim-fast"))
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.headers["x-request-id"] == simulator.record.served[-1].request_id
    assert reply.headers["openai-organization"] == "deltaworks-simulator"
    assert int(reply.headers["openai-processing-ms"]) >= 0
    assert reply.headers["x-ratelimit-limit-requests"] == "10000"


async def test_usage_comes_in_a_last_chunk_and_is_null_before_it(base_url):
    body = chat("sim-fast?tokens=7", stream_options={"include_usage": True})
    *chunks, usage = (await post_raw(base_url, body)).documents
    assert all(chunk["usage"] is None for chunk in chunks)
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 7
    total = usage["usage"]["prompt_tokens"] + 7
    assert usage["usage"]["total_tokens"] == total


async def test_several_choices_interleave_by_index_and_differ(base_url):
    reply = await post_raw(base_url, chat("sim-fast?tokens=20", n=3))
    indexes = [chunk["choices"][0]["index"] for chunk in reply.documents]
    assert indexes == [0, 1, 2] * 22
    assert len({joined(reply.documents, choice) for choice in range(3)}) == 3
    assert reply.finish_reasons == ["stop"] * 3


async def test_tool_calls_open_with_id_and_name_and_go_on_with_argument_fragments(base_url):
    reply = await post_raw(base_url, chat("sim-tools?rate=0&ttft=0", tools=TOOLS))
    deltas = [chunk["choices"][0]["delta"] for chunk in reply.documents]
    opening, *fragments = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
    assert opening["id"].startswith("call_")
    assert opening["function"] == {"name": "look", "arguments": ""}
    assert all(list(fragment) == ["index", "function"] for fragment in fragments)
    arguments = "".join(fragment["function"]["arguments"] for fragment in fragments)
    assert json.loads(arguments)["simulated"] is True
    assert reply.finish_reasons == ["tool_calls"]


async def test_a_model_asks_for_no_tools_where_none_are_offered(base_url):
    model = "sim-tools?rate=0&ttft=0&tokens=3"
    assert (await post_raw(base_url, chat(model))).finish_reasons == ["stop"]
    refused = chat(model, tools=TOOLS, tool_choice="none")
    assert (await post_raw(base_url, refused)).finish_reasons == ["stop"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_reasoning_comes_before_content(base_url, field):
    model = f"sim-reasoning?rate=0&ttft=0&reasoning=5&tokens=5&reasoning_field={field}"
    deltas = [c["choices"][0]["delta"] for c in (await post_raw(base_url, chat(model))).documents]
    assert [list(delta) for delta in deltas[1:-1]] == [[field]] * 5 + [["content"]] * 5


async def test_logprobs_describe_each_token_when_asked_for(base_url):
    reply = await post_raw(base_url, chat("sim-fast?tokens=4", logprobs=True, top_logprobs=2))
    for chunk in reply.documents[1:-1]:
        (logprob,) = chunk["choices"][0]["logprobs"]["content"]
        assert logprob["token"] == chunk["choices"][0]["delta"]["content"]
        assert bytes(logprob["bytes"]).decode() == logprob["token"]
        assert len(logprob["top_logprobs"]) == 2


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
async def test_a_token_limit_ends_the_text_with_length(base_url, simulator, limit):
    reply = await post_raw(base_url, chat("sim-fast?tokens=50") | {limit: 6})
    assert reply.finish_reasons == ["length"]
    assert simulator.record.served[-1].deltas == 6


async def test_no_tokens_are_a_proper_end_without_text(base_url):
    reply = await post_raw(base_url, chat("sim-fast?tokens=0"))
    assert (reply.text, reply.finish_reasons, reply.done) == ("", ["stop"], 1)


async def test_a_whole_answer_says_what_a_stream_would_have_said(base_url, client):
    model = "sim-reasoning?rate=0&ttft=0"
    stream = await post_raw(base_url, chat(model, n=2))
    answer = await whole(client, model, n=2)
    assert answer["object"] == "chat.completion"
    for choice in answer["choices"]:
        index, message = choice["index"], choice["message"]
        assert message["content"] == joined(stream.documents, index)
        expected = joined(stream.documents, index, "reasoning_content")
        assert message["reasoning_content"] == expected


async def test_a_whole_answer_holds_tool_calls_and_logprobs(client):
    answer = await whole(client, "sim-tools?rate=0&ttft=0&tools=2", tools=TOOLS)
    message = answer["choices"][0]["message"]
    assert message["content"] is None
    assert [call["function"]["name"] for call in message["tool_calls"]] == ["look", "fetch"]
    answer = await whole(client, "sim-fast?tokens=4", logprobs=True)
    assert len(answer["choices"][0]["logprobs"]["content"]) == 4


async def test_the_models_belong_to_the_simulator_and_begin_with_sim(client):
    models = (await client.get("/models")).json()["data"]
    assert {model["owned_by"] for model in models} == {"deltaworks-simulator"}
    assert all(model["id"].startswith("sim") for model in models)


@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        (chat("gpt-4o"), 404, "gpt-4o"),
        (chat("sim?tokns=5"), 400, "tokns"),
        (chat("sim?rate=fast"), 400, "rate"),
        (chat("sim?times=often"), 400, "often"),
        (chat("sim?fault=gremlin"), 400, "gremlin"),
        (chat("sim", n=0), 400, "n: 0"),
        (chat("sim") | {"messages": []}, 400, "messages"),
        (chat("sim", stream_options={}) | {"stream": False}, 400, "stream_options"),
        (chat("sim", top_logprobs=3), 400, "top_logprobs"),
        (chat("sim", max_tokens=0), 400, "max_completion_tokens"),
        ("no object", 400, "body"),
    ],
)
async def test_an_impossible_request_is_refused_by_name(base_url, body, status, named):
    reply = await post_raw(base_url, body)
    error = json.loads(reply.body)["error"]
    assert reply.status == status
    assert set(error) == {"message", "type", "param", "code"}
    assert named in error["message"]


async def test_unknown_paths_and_methods_are_refused(client):
    assert (await client.get("/embeddings")).status_code == 404
    assert (await client.get("/chat/completions")).status_code == 405
    assert (await client.get(client.base_url.copy_with(path="/healthz"))).status_code == 200


async def test_garbage_on_the_socket_is_answered_with_400(base_url):
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
    writer.write(b"\x16\x03\x01 hello\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_one_connection_serves_pipelined_requests_in_order(base_url):
    request = encoded("/v1/chat/completions", chat("sim-fast?tokens=3"))
    kept_alive = request.replace(b"connection: close\r\n", b"expect: 100-continue\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(base_url).port)
    writer.write(kept_alive * 3 + request)
    received = await reader.read(-1)
    writer.close()
    assert received.count(b"HTTP/1.1 200 OK") == 4
    assert received.count(b"HTTP/1.1 100 Continue") == 3
    assert received.count(b"data: [DONE]") == 4


async def test_it_listens_on_a_unix_socket(tmp_path):
    simulator = Simulator()
    base_url = await simulator.start(socket_path=tmp_path / "sim")
    transport = httpx.AsyncHTTPTransport(uds=str(tmp_path / "sim"))
    async with httpx.AsyncClient(transport=transport, base_url=base_url) as client:
        assert (await client.get("/models")).status_code == 200
    await simulator.aclose()
