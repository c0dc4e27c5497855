"""OpenAI's own client against the Responses API, over a real worker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel

from models import Job
from tests.stack import Reader, Stack, address_of, ground_truth
from tests.upstreams import written
from tests.wire import until
from worker.store import Listing

pytestmark = [
    pytest.mark.usefixtures("live"),
    pytest.mark.xdist_group("gateway responses"),
]

FAST = "sim?tokens=20&rate=0&ttft=0"
SLOW = "sim?tokens=5000&rate=20&ttft=0"
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather.",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


async def row(reader: Reader, response: str) -> Job:
    """The job behind a response."""
    return await reader.store.jobs.get(response.replace("resp_", "job_"))


def served(live: Stack, job: str, attempt: int = 1) -> dict[str, Any]:
    """The simulator's record of an attempt."""
    return next(e for e in live.record() if (e["job"], e["attempt"]) == (job, attempt))


async def ended(openai: AsyncOpenAI, id: str) -> Any:
    """The response, polled to its end as OpenAI's guide does."""

    async def over() -> bool:
        return (await openai.responses.retrieve(id)).status not in {"queued", "in_progress"}

    await until(over)
    return await openai.responses.retrieve(id)


async def test_a_response_that_is_waited_for_comes_in_one_piece(
    live: Stack, openai: AsyncOpenAI, reader: Reader
) -> None:
    raw = await openai.responses.with_raw_response.create(
        model=FAST, input="hello", instructions="Be brief.", metadata={"who": "me"}, temperature=0.5
    )
    found = raw.parse()
    job = await row(reader, found.id)

    assert raw.headers["x-deltaworks-job"] == job.id
    assert found.output_text == job.output_text == ground_truth(served(live, job.id)) != ""
    assert (found.status, found.object, found.model) == ("completed", "response", FAST)
    assert (found.instructions, found.temperature, found.background) == ("Be brief.", 0.5, False)
    assert found.metadata == job.labels == {"who": "me"}
    assert found.usage is not None and found.usage.output_tokens == 20
    assert found.usage.total_tokens == found.usage.input_tokens + 20
    assert found.completed_at and found.completed_at >= found.created_at
    assert job.request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    assert (await openai.responses.retrieve(found.id)).to_dict() == found.to_dict()


async def test_a_response_in_the_background_is_polled_to_its_end(
    live: Stack, openai: AsyncOpenAI
) -> None:
    first = await openai.responses.create(model=FAST, input="hello", background=True)
    assert (first.status, first.background, first.output) == ("queued", True, [])
    found = await ended(openai, first.id)
    assert found.status == "completed"
    assert found.output_text == ground_truth(served(live, first.id.replace("resp_", "job_")))


async def test_a_response_streams_to_openais_own_accumulator(
    live: Stack, openai: AsyncOpenAI
) -> None:
    deltas = []
    async with openai.responses.stream(model="sim-reasoning?rate=0", input="hello") as stream:
        async for event in stream:
            if event.type == "response.output_text.delta":
                deltas.append(event.delta)
        found = await stream.get_final_response()

    assert "".join(deltas) == found.output_text != ""
    assert [item.type for item in found.output] == ["reasoning", "message"]
    thought: Any = found.output[0]
    assert thought.content[0].text
    again = await openai.responses.retrieve(found.id)
    assert [item.to_dict() for item in again.output] == [
        {k: v for k, v in item.to_dict().items() if k != "parsed"} for item in again.output
    ]
    assert again.output_text == found.output_text


async def test_a_tool_is_called_and_its_output_is_answered(
    openai: AsyncOpenAI, reader: Reader
) -> None:
    model = "sim-tools?rate=0"
    async with openai.responses.stream(model=model, input="hi", tools=[WEATHER]) as stream:
        events = [event async for event in stream]
        found = await stream.get_final_response()
    (call,) = found.output
    assert call.type == "function_call"
    said = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(said) == call.arguments != ""
    whole = await openai.responses.create(model=model, input="hi", tools=[WEATHER])
    assert [item.type for item in whole.output] == ["function_call"]

    answer: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
    second = await openai.responses.create(
        model=FAST, previous_response_id=found.id, input=[answer]
    )
    asked: Any = (await row(reader, second.id)).request["messages"]
    assert [message["role"] for message in asked] == ["user", "assistant", "tool"]
    assert asked[1]["tool_calls"][0]["id"] == asked[2]["tool_call_id"] == call.call_id
    by_hand = await openai.responses.create(
        model=FAST,
        input=[{"role": "user", "content": "hi"}, call.to_dict(), answer],  # type: ignore[list-item]
    )
    assert (await row(reader, by_hand.id)).request["messages"] == asked


async def test_a_chain_of_responses_holds_the_whole_conversation(
    openai: AsyncOpenAI, reader: Reader
) -> None:
    first = await openai.responses.create(model=FAST, input="one", instructions="Be brief.")
    second = await openai.responses.create(model=FAST, input="two", previous_response_id=first.id)
    third = await openai.responses.create(
        model=FAST, input="three", previous_response_id=second.id, instructions="Be kind."
    )
    asked = (await row(reader, third.id)).request["messages"]
    assert asked == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": first.output_text},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": second.output_text},
        {"role": "user", "content": "three"},
    ]
    assert third.previous_response_id == second.id
    items = [item async for item in openai.responses.input_items.list(third.id, order="asc")]
    assert [item.role for item in items] == ["user", "assistant", "user", "assistant", "user"]  # type: ignore[union-attr]
    page = await openai.responses.input_items.list(third.id, limit=2)
    assert page.has_more and [item.id for item in page.data] == [items[4].id, items[3].id]


async def test_what_is_structured_is_parsed(openai: AsyncOpenAI, reader: Reader) -> None:
    class Weather(BaseModel):
        degrees: int

    # The simulator writes no JSON: what matters is how the upstream is asked.
    with pytest.raises(ValueError, match="Weather"):
        await openai.responses.parse(model=FAST, input="hello", text_format=Weather)
    job = (await reader.store.jobs.page(Listing(tenant="default"), 1))[0]
    form: Any = job.request["response_format"]
    assert (form["type"], form["json_schema"]["name"]) == ("json_schema", "Weather")
    assert form["json_schema"]["strict"] is True


async def test_a_refusal_and_a_length_limit_are_what_they_are(openai: AsyncOpenAI) -> None:
    refused = await openai.responses.create(model=f"{FAST}&refusal=1", input="hello")
    message = refused.output[0]
    assert message.type == "message" and message.content[0].type == "refusal"
    async with openai.responses.stream(model=FAST, input="hello", max_output_tokens=5) as stream:
        last = [event async for event in stream][-1]
    assert last.type == "response.incomplete" and last.response.status == "incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"
    assert last.response.output_text


async def test_a_cancelled_response_says_so_to_its_stream_and_ever_after(
    openai: AsyncOpenAI, reader: Reader
) -> None:
    stream = await openai.responses.create(model=SLOW, input="hi", background=True, stream=True)
    events = []
    async for event in stream:
        events.append(event)
        if event.type == "response.output_text.delta" and len(events) < 8:
            cancelled = await openai.responses.cancel(events[0].response.id)  # type: ignore[union-attr]
            assert cancelled.status == "cancelled"
    assert events[-1].type == "response.incomplete"
    assert (events[-1].response.status, events[-1].response.output) == ("cancelled", [])
    assert events[-2].type == "response.output_item.done"
    id = events[-1].response.id
    assert (await openai.responses.cancel(id)).status == "cancelled"
    again = await openai.responses.retrieve(id, stream=True)
    replayed = [event async for event in again]
    assert numbers_of(replayed) == numbers_of(events)
    await reader.log.erase(id.replace("resp_", "job_"))
    again = await openai.responses.retrieve(id, stream=True)
    assert numbers_of([event async for event in again]) == numbers_of(events)


def numbers_of(events: Sequence[Any]) -> list[int]:
    """The numbers of what is sent under any cut."""
    return [event.sequence_number for event in events if "delta" not in event.type]


async def test_only_a_background_response_is_cancelled(openai: AsyncOpenAI) -> None:
    found = await openai.responses.create(model=FAST, input="hello")
    with pytest.raises(sdk.BadRequestError, match="background=true"):
        await openai.responses.cancel(found.id)


async def test_a_deleted_response_is_gone(openai: AsyncOpenAI, reader: Reader) -> None:
    found = await openai.responses.create(model=FAST, input="hello", instructions="secret")
    await openai.responses.delete(found.id)
    with pytest.raises(sdk.NotFoundError):
        await openai.responses.retrieve(found.id)
    with pytest.raises(sdk.BadRequestError) as refused:
        await openai.responses.create(model=FAST, input="x", previous_response_id=found.id)
    assert refused.value.code == "previous_response_not_found"
    job = await row(reader, found.id)
    assert not job.request and job.response_fields is None and job.output is None


async def test_what_is_not_to_be_stored_cannot_be_asked_for(openai: AsyncOpenAI) -> None:
    found = await openai.responses.create(model=FAST, input="hello", store=False)
    assert found.output_text
    with pytest.raises(sdk.NotFoundError):
        await openai.responses.retrieve(found.id)


async def test_a_request_that_is_sent_twice_under_one_key_is_one_response(
    openai: AsyncOpenAI,
) -> None:
    key = {"Idempotency-Key": "order-7"}
    one = await openai.responses.create(model=FAST, input="hello", extra_headers=key)
    two = await openai.responses.create(model=FAST, input="hello", extra_headers=key)
    assert one.id == two.id
    with pytest.raises(sdk.ConflictError):
        await openai.responses.create(model=FAST, input="hello", user="u", extra_headers=key)
    with pytest.raises(sdk.ConflictError):
        await openai.responses.create(model=FAST, input="hello", background=True, extra_headers=key)


async def test_a_job_that_is_no_response_is_none(http: httpx.AsyncClient) -> None:
    body = {"request": {"model": FAST, "messages": [{"role": "user", "content": "x"}]}}
    id = (await http.post("/v1/jobs", json=body)).json()["id"]
    assert (await http.get(f"/v1/responses/{id.replace('job_', 'resp_')}")).status_code == 404
    assert (await http.get(f"/v1/responses/{id}")).status_code == 404


async def test_a_failure_raises_what_the_upstream_said(openai: AsyncOpenAI) -> None:
    calm = openai.with_options(max_retries=0)
    with pytest.raises(sdk.BadRequestError) as refused:
        await calm.responses.create(model="sim?fault=context-length", input="hello")
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.response.headers["x-should-retry"] == "false"
    id = refused.value.response.headers["x-deltaworks-job"].replace("job_", "resp_")
    found = await openai.responses.retrieve(id)
    assert (found.status, found.output) == ("failed", [])
    assert found.error and (found.error.code, found.error.message) == (
        "invalid_prompt",
        refused.value.body["message"],  # type: ignore[index]
    )
    async with calm.responses.stream(model="sim?fault=context-length", input="hello") as stream:
        last = [event async for event in stream][-1]
    assert last.type == "response.failed" and last.response.error is not None


async def test_a_client_that_goes_away_takes_its_response_with_it(
    openai: AsyncOpenAI, reader: Reader, live: Stack
) -> None:
    known = len(live.record())
    with pytest.raises(sdk.APITimeoutError):
        await openai.with_options(max_retries=0).responses.create(
            model=SLOW, input="left alone", timeout=0.7
        )
    await until(lambda: len(live.record()) > known)
    left = live.record()[-1]["job"]

    async def cancelled() -> bool:
        return (await reader.store.jobs.get(left)).state == "cancelled"

    await until(cancelled)

    stay = {"x-deltaworks-on-disconnect": "continue"}
    model = "sim?tokens=20&rate=20"
    stream = await openai.responses.create(
        model=model, input="continue", stream=True, extra_headers=stay
    )
    first: Any = await anext(aiter(stream))
    await stream.close()
    assert (await ended(openai, first.response.id)).status == "completed"


@pytest.fixture
async def neighbour(live: Stack) -> AsyncIterator[AsyncOpenAI]:
    """Another tenant's client, of a gateway with keys, whose upstream streams log probabilities."""
    made = live.start("key", "-m", "worker.cli", "keys", "create", "other", "--tenant", "other")
    assert await asyncio.to_thread(made.popen.wait, 60) == 0
    key = next(word for word in made.printed().split() if word.startswith("dw_"))
    table = f'[[upstream]]\nname = "simulator"\nbase_url = "{live.base_url}"\n'
    table += 'api_key_env = "OPENAI_API_KEY"\nstreams_logprobs = true\n'
    known = {"DELTAWORKS_UPSTREAMS_FILE": str(written(live, "upstreams.toml", table))}
    gateway = await asyncio.to_thread(partial(live.gateway, "--port", "0", **known))
    async with AsyncOpenAI(base_url=f"{address_of(gateway)}/v1", api_key=key) as client:
        yield client
    gateway.stop()


async def test_a_tenants_neighbour_finds_nothing_and_has_log_probabilities(
    live: Stack, openai: AsyncOpenAI, neighbour: AsyncOpenAI
) -> None:
    found = await openai.responses.create(model=FAST, input="hello")
    with pytest.raises(sdk.NotFoundError):
        await neighbour.responses.retrieve(found.id)
    with pytest.raises(sdk.BadRequestError) as refused:
        await neighbour.responses.create(model=FAST, input="x", previous_response_id=found.id)
    assert refused.value.code == "previous_response_not_found"

    # They are not saved. So the job lasts longer than a reader waits for its subscription: of one
    # that has ended by then it is told from the database.
    stream = await neighbour.responses.create(
        model="sim?tokens=20&rate=5&ttft=0", input="hello", stream=True, top_logprobs=2,
        include=["message.output_text.logprobs"],
    )  # fmt: skip
    events = [event async for event in stream]
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert [len(each.top_logprobs or []) for event in deltas for each in event.logprobs] == [2] * 20
    assert [each.token for event in deltas for each in event.logprobs] == [
        event.delta for event in deltas
    ]


IMAGE = {"type": "input_image", "detail": "low", "image_url": "data:image/png;base64,AA=="}


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "unsupported_parameter"),
        ({"conversation": "conv_1"}, "conversation", "unsupported_parameter"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "unsupported_parameter"),
        ({"truncation": "auto"}, "truncation", "unsupported_parameter"),
        ({"include": ["reasoning.encrypted_content"]}, "include", "unsupported_parameter"),
        ({"include": ["message.output_text.logprobs"]}, "include", "unsupported_parameter"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary", "unsupported_parameter"),
        ({"max_tool_calls": 3}, "max_tool_calls", "unsupported_parameter"),
        ({"background": True, "store": False}, "store", "invalid_value"),
        ({"background": "yes"}, "background", "invalid_value"),
        ({"temperature": "hot"}, "temperature", "invalid_value"),
        ({"max_output_tokens": 0}, "max_output_tokens", "invalid_value"),
        ({"input": None}, "input", "invalid_value"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].type", None),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user", "content": [{**IMAGE, "file_id": "f"}]}]},
         "input[0].content[0].file_id", "unsupported_parameter"),
        ({"model": "sim-unknown?"}, None, None),
        ({"metadata": {"a": 1}}, "metadata.a", "invalid_value"),
        ({"previous_response_id": "resp_none"}, "previous_response_id",
         "previous_response_not_found"),
        ({"stream_options": {"include_obfuscation": False}}, "stream_options", "invalid_value"),
        ({"tool_choice": {"type": "file_search"}}, "tool_choice.type", "unsupported_parameter"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type", "unsupported_parameter"),
    ],
)  # fmt: skip
async def test_what_cannot_be_done_is_refused_by_name(
    http: httpx.AsyncClient, given: dict[str, Any], param: str | None, code: str | None
) -> None:
    refused = await http.post("/v1/responses", json={"model": FAST, "input": "hello", **given})
    error = refused.json()["error"]
    assert refused.status_code == 400 or given.keys() == {"model"}
    assert param is None or error["param"] == param
    assert code is None or error["code"] == code
    assert error["message"]


async def test_parts_of_an_input_become_parts_of_a_message(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    parts = [
        {"type": "input_text", "text": "look"},
        IMAGE,
        {"type": "input_file", "filename": "a.txt", "file_data": "data:text/plain;base64,AA=="},
    ]
    body = {"model": FAST, "input": [{"role": "user", "content": parts}]}
    id = (await http.post("/v1/responses", json=body)).json()["id"]
    messages: Any = (await row(reader, id)).request["messages"]
    assert messages[0]["content"] == [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": IMAGE["image_url"], "detail": "low"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": parts[2]["file_data"]}},
    ]
    listed = (await http.get(f"/v1/responses/{id}/input_items")).json()["data"]
    assert listed[0]["content"] == parts
