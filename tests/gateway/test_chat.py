"""OpenAI's own client against the chat endpoint, over a real worker."""

import asyncio
import json
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI

from models import Job
from tests.stack import Reader, Stack, address_of, chat, ground_truth
from tests.upstreams import written
from tests.wire import until

pytestmark = [
    pytest.mark.usefixtures("live"),
    pytest.mark.xdist_group("gateway chat"),
]

HELLO: Any = [{"role": "user", "content": "hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
FAST = "sim?tokens=20&rate=0&ttft=0"


async def row(reader: Reader, completion_id: str) -> Job:
    """The job behind a completion."""
    return await reader.store.jobs.get(completion_id.replace("chatcmpl-", "job_"))


def served(live: Stack, job: str, attempt: int = 1) -> str:
    """What the simulator served for it, by its own record."""
    for each in live.record():
        if each["job"] == job and each["attempt"] == attempt:
            return ground_truth(each)
    raise AssertionError(job)


async def test_a_completion_comes_in_one_piece(
    live: Stack, openai: AsyncOpenAI, reader: Reader
) -> None:
    raw = await openai.chat.completions.with_raw_response.create(model=FAST, messages=HELLO)
    found = raw.parse()
    job = await row(reader, found.id)
    assert raw.headers["x-deltaworks-job"] == job.id
    (choice,) = found.choices
    assert choice.message.content == job.output_text == served(live, job.id)
    assert (choice.finish_reason, choice.message.role) == ("stop", "assistant")
    assert found.usage is not None and found.usage.completion_tokens == 20
    assert (found.model, found.object) == (FAST, "chat.completion")
    assert (job.lane, job.state) == ("interactive", "completed")


async def test_a_completion_streams_as_it_is_made(
    live: Stack, openai: AsyncOpenAI, reader: Reader
) -> None:
    stream = await openai.chat.completions.create(
        model="sim?tokens=30&rate=30", messages=HELLO, stream=True
    )
    chunks = [chunk async for chunk in stream]
    job = await row(reader, chunks[0].id)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == job.output_text == served(live, job.id)
    assert len(chunks) > 5
    assert [chunk.choices[0].delta.role for chunk in chunks[:2]] == ["assistant", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks[-2:]] == [None, "stop"]
    assert all(chunk.usage is None for chunk in chunks)


async def test_usage_comes_last_where_it_was_asked_for(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model=FAST, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert last.choices == [] and last.usage is not None and last.usage.completion_tokens == 20
    assert all("usage" in chunk.model_fields_set and chunk.usage is None for chunk in chunks)


async def test_several_choices_each_keep_their_text(
    live: Stack, openai: AsyncOpenAI, reader: Reader
) -> None:
    found = await openai.chat.completions.create(model=FAST, messages=HELLO, n=2)
    assert [choice.index for choice in found.choices] == [0, 1]
    texts = {0: "", 1: ""}
    reasons = {}
    stream = await openai.chat.completions.create(model=FAST, messages=HELLO, n=2, stream=True)
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            reasons[choice.index] = choice.finish_reason
    job = await row(reader, chunk.id)
    assert job.output is not None
    assert texts == {said["index"]: said["content"] for said in job.output}
    assert reasons == {0: "stop", 1: "stop"}
    assert texts[0] != texts[1]


async def test_tool_calls_come_whole_and_in_pieces(openai: AsyncOpenAI) -> None:
    model = "sim?tools=1&rate=0&ttft=0"
    found = await openai.chat.completions.create(model=model, messages=HELLO, tools=[WEATHER])
    call = _only_call(found)
    assert (call.type, call.function.name) == ("function", "weather")
    json.loads(call.function.arguments)
    assert found.choices[0].finish_reason == "tool_calls"
    async with openai.chat.completions.stream(
        model=model, messages=HELLO, tools=[WEATHER]
    ) as stream:
        final = await stream.get_final_completion()
    same = _only_call(final)
    assert (same.function.name, same.function.arguments) == ("weather", call.function.arguments)
    assert same.id and final.choices[0].finish_reason == "tool_calls"


def _only_call(completion: Any) -> Any:
    (call,) = completion.choices[0].message.tool_calls
    return call


async def test_reasoning_and_refusals_arrive_under_their_names(openai: AsyncOpenAI) -> None:
    model = "sim?reasoning=8&tokens=5&rate=0&ttft=0"
    found = await openai.chat.completions.create(model=model, messages=HELLO)
    whole = found.choices[0].message.model_extra or {}
    stream = await openai.chat.completions.create(model=model, messages=HELLO, stream=True)
    pieces = [(chunk.choices[0].delta.model_extra or {}) async for chunk in stream]
    assert whole["reasoning_content"]
    assert whole["reasoning_content"] == "".join(p.get("reasoning_content", "") for p in pieces)
    refused = await openai.chat.completions.create(
        model="sim?refusal=1&tokens=5&rate=0&ttft=0", messages=HELLO
    )
    message = refused.choices[0].message
    assert message.refusal and message.content is None


async def test_a_cut_by_the_length_limit_says_so(openai: AsyncOpenAI) -> None:
    found = await openai.chat.completions.create(model=FAST, messages=HELLO, max_tokens=5)
    assert found.choices[0].finish_reason == "length"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("fault", "error", "status", "code"),
    [
        ("context-length", sdk.BadRequestError, 400, "context_length_exceeded"),
        ("insufficient-quota", sdk.RateLimitError, 429, "insufficient_quota"),
        ("status-404", sdk.NotFoundError, 404, None),
        ("status-403", sdk.PermissionDeniedError, 403, None),
    ],
)
async def test_a_refusal_of_the_upstream_is_the_answer(
    live: Stack,
    openai: AsyncOpenAI,
    http: httpx.AsyncClient,
    fault: str,
    error: type[sdk.APIStatusError],
    status: int,
    code: str | None,
    stream: bool,
) -> None:
    model = f"sim?fault={fault}&times=all&key={fault}{stream}"
    with pytest.raises(error) as raised:
        await openai.chat.completions.create(model=model, messages=HELLO, stream=stream)
    found = raised.value
    assert found.status_code == status
    assert code is None or found.code == code
    assert found.response.headers["x-should-retry"] == "false"
    job = found.response.headers["x-deltaworks-job"]
    # The client has asked once, although it tries again by itself where it may.
    assert [each["job"] for each in live.record() if each["model"] == model] == [job]
    if status in (403, 429):
        await _resume(live, http)


async def _resume(live: Stack, http: httpx.AsyncClient) -> None:
    """Lift the suspension, and wait until the worker has seen that: it looks every few moments."""
    resume = live.start("resume", "-m", "worker.cli", "upstreams", "resume", "127.0.0.1")
    await asyncio.to_thread(resume.popen.wait, 30)

    async def serves() -> bool:
        return (await http.post("/v1/chat/completions", json=chat(FAST))).is_success

    await until(serves)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_retried_before_any_text_is_not_noticed(
    openai: AsyncOpenAI, reader: Reader, stream: bool
) -> None:
    model = f"sim?tokens=10&rate=0&ttft=0&fault=status-500&times=2&key=early{stream}"
    if stream:
        pieces = await openai.chat.completions.create(model=model, messages=HELLO, stream=True)
        chunks = [chunk async for chunk in pieces]
        text, id = "".join(c.choices[0].delta.content or "" for c in chunks), chunks[0].id
    else:
        found = await openai.chat.completions.create(model=model, messages=HELLO)
        text, id = found.choices[0].message.content or "", found.id
    job = await row(reader, id)
    assert (text, job.failures) == (job.output_text, 2)


async def test_an_attempt_given_up_after_text_was_shown_ends_the_stream_with_an_error(
    openai: AsyncOpenAI, http: httpx.AsyncClient, reader: Reader
) -> None:
    model = "sim?tokens=20&rate=100&fault=cut-rst&times=1&key=shown&vary=1"
    stream = await openai.chat.completions.create(model=model, messages=HELLO, stream=True)
    shown = ""
    with pytest.raises(sdk.APIError) as raised:
        async for chunk in stream:
            shown += chunk.choices[0].delta.content or ""
    assert shown
    body: Any = raised.value.body
    assert (raised.value.code, body["job"]) == ("attempt_given_up", body["job"])
    # It goes on, and can be followed where the error says.
    answer = await http.get(body["resume"])
    assert "event: completed" in answer.text
    job = await reader.store.jobs.get(body["job"])
    assert (job.state, job.failures) == ("completed", 1)
    assert not (job.output_text or "").startswith(shown)


async def test_with_hold_only_text_that_stands_is_shown(
    openai: AsyncOpenAI, reader: Reader
) -> None:
    model = "sim?tokens=20&rate=100&fault=cut-rst&times=1&key=held&vary=1"
    stream = await openai.chat.completions.create(
        model=model, messages=HELLO, stream=True, extra_headers={"x-deltaworks-hold": "true"}
    )
    chunks = [chunk async for chunk in stream]
    job = await row(reader, chunks[0].id)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == job.output_text
    assert job.failures == 1


async def test_a_failure_after_text_was_shown_is_said_within_the_stream(
    openai: AsyncOpenAI,
) -> None:
    model = "sim?tokens=20&rate=100&fault=error-azure&times=all&key=filtered"
    stream = await openai.chat.completions.create(model=model, messages=HELLO, stream=True)
    with pytest.raises(sdk.APIError) as raised:
        async for _ in stream:
            pass
    assert raised.value.code == "ResponsibleAIPolicyViolation"


async def test_the_head_waits_for_the_first_delta_but_not_for_ever(
    http: httpx.AsyncClient,
) -> None:
    begun = asyncio.get_running_loop().time()
    body = chat("sim?tokens=5&rate=0&ttft=3", stream=True)
    async with http.stream("POST", "/v1/chat/completions", json=body) as response:
        waited = asyncio.get_running_loop().time() - begun
        first = await anext(response.aiter_text())
    # The setting says a second; the first token comes after three.
    assert 0.9 < waited < 2.9
    assert (response.status_code, first) == (200, ": still here\n\n")
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-deltaworks-job"].startswith("job_")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_job_whose_client_has_gone_is_cancelled(
    http: httpx.AsyncClient, reader: Reader, stream: bool
) -> None:
    id = await _left_in_the_middle(http, reader, stream, {})

    async def cancelled() -> bool:
        return (await reader.store.jobs.get(id)).state == "cancelled"

    await until(cancelled)


async def test_a_job_goes_on_without_its_client_where_that_was_said(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    id = await _left_in_the_middle(http, reader, True, {"x-deltaworks-on-disconnect": "continue"})
    text, _, job = await reader.end(id)
    assert (job.state, text) == ("completed", job.output_text)


async def _left_in_the_middle(
    http: httpx.AsyncClient, reader: Reader, stream: bool, headers: dict[str, str]
) -> str:
    """Ask, and hang up while the answer is being made; the job's id."""
    key = f"left-{stream}-{len(headers)}"
    model = f"sim?tokens=60&rate=30&key={key}"
    body = chat(model, key, stream=stream)
    asking = asyncio.create_task(
        http.post("/v1/chat/completions", json=body, headers={**headers, "idempotency-key": key})
    )
    id = await _running(http, model)
    asking.cancel()
    await asyncio.wait([asking])
    return id


async def _running(http: httpx.AsyncClient, model: str) -> str:
    """The id of the job with this model, as soon as it runs."""
    found: list[str] = []

    async def runs() -> bool:
        page = (await http.get("/v1/jobs", params={"state": "in_progress"})).json()["data"]
        found.extend(job["id"] for job in page if job["model"] == model)
        return bool(found)

    await until(runs)
    return found[0]


async def test_a_client_that_comes_back_with_its_key_in_time_keeps_its_job(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    model = "sim?tokens=60&rate=30&key=again"
    body = chat(model, "again")
    headers = {"idempotency-key": "again"}
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=body, headers=headers))
    await _running(http, model)
    asking.cancel()
    await asyncio.wait([asking])
    answer = await http.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.status_code == 200
    job = await reader.store.jobs.get(answer.headers["x-deltaworks-job"])
    assert answer.json()["choices"][0]["message"]["content"] == job.output_text
    assert job.state == "completed"


async def test_a_client_that_comes_back_to_another_gateway_keeps_its_job(
    live: Stack, http: httpx.AsyncClient, reader: Reader
) -> None:
    model = "sim?tokens=90&rate=30&key=elsewhere"
    body, headers = chat(model, "elsewhere"), {"idempotency-key": "elsewhere"}
    other = await asyncio.to_thread(live.gateway)
    asking = asyncio.create_task(http.post("/v1/chat/completions", json=body, headers=headers))
    id = await _running(http, model)
    async with httpx.AsyncClient(base_url=address_of(other), timeout=60) as elsewhere:
        again = asyncio.create_task(
            elsewhere.post("/v1/chat/completions", json=body, headers=headers)
        )

        async def both() -> bool:
            return await reader.log.listeners(id) == 2

        await until(both)
        asking.cancel()
        answer = await again
    other.kill()
    assert answer.status_code == 200, answer.text
    assert (await reader.store.jobs.get(id)).state == "completed"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"messages": []}, "messages"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"temperature": "hot"}, "temperature"),
        ({"api_key": "sk-secret"}, "api_key"),
    ],
)
async def test_a_bad_request_names_its_field(
    openai: AsyncOpenAI, change: dict[str, object], param: str
) -> None:
    with pytest.raises(sdk.BadRequestError) as raised:
        await openai.chat.completions.create(model=FAST, messages=HELLO, extra_body=change)
    assert raised.value.param == param
    assert "sk-secret" not in str(raised.value)


async def test_a_client_that_loses_patience_raises_its_own_timeout(
    openai: AsyncOpenAI,
) -> None:
    with pytest.raises(sdk.APITimeoutError):
        await openai.with_options(timeout=0.5, max_retries=0).chat.completions.create(
            model="sim?ttft=5", messages=HELLO
        )


async def test_a_model_that_no_upstream_serves_is_not_found(live: Stack) -> None:
    table = f'[[upstream]]\nname = "few"\nbase_url = "{live.base_url}"\nmodels = ["sim-fast"]\n'
    file = written(live, "few.toml", table)
    gateway = await asyncio.to_thread(live.gateway, DELTAWORKS_UPSTREAMS_FILE=str(file))
    async with AsyncOpenAI(base_url=f"{address_of(gateway)}/v1", api_key="unused") as client:
        for asking in (
            client.chat.completions.create(model="gpt-unknown", messages=HELLO),
            client.responses.create(model="gpt-unknown", input="hello"),
        ):
            with pytest.raises(sdk.NotFoundError, match="gpt-unknown") as raised:
                await asking
            assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    gateway.kill()


async def test_models_are_those_the_upstream_lists(openai: AsyncOpenAI) -> None:
    found = [model.id async for model in openai.models.list()]
    assert "sim" in found and "sim-tools" in found
    assert (await openai.models.retrieve("sim-fast")).id == "sim-fast"
    with pytest.raises(sdk.NotFoundError):
        await openai.models.retrieve("gpt-unknown")
