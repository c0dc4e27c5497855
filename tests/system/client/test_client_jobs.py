"""The client against the real stack: what it holds at the end is what is saved."""

from contextlib import aclosing
from typing import Any

import httpx
import pytest

from tests.clients import AnyClient, heard
from tests.stack import Stack, chat, ground_truth
from worker.client import (
    Cancelled,
    Completed,
    Conflict,
    Delta,
    Failed,
    Incomplete,
    InvalidCursor,
    InvalidRequest,
    Job,
    JobFailed,
    JobRequest,
    NotFound,
    Retrying,
    Started,
    Transcript,
)

pytestmark = pytest.mark.xdist_group("client")

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object"}}}


def check_parts(transcript: Transcript, job: Job) -> None:
    """Each part of each choice is what was saved."""
    assert job["output"] and len(job["output"]) == len(transcript.choices)
    for message in job["output"]:
        choice = transcript.choices[message["index"]]
        assert choice.text == (message["content"] or "")
        assert choice.reasoning == message.get("reasoning", "")
        assert choice.refusal == message.get("refusal", "")
        said = [(c["id"], c["function"]) for c in message.get("tool_calls", [])]
        assert said == [
            (call.id, {"name": call.name, "arguments": call.arguments})
            for call in choice.tool_calls
        ]


async def served(stack: Stack, id: str) -> str:
    """The text that the upstream says its last answer to the job had."""
    return ground_truth([each for each in stack.record() if each["job"] == id][-1])


async def test_a_prompt_is_submitted_streamed_and_its_result_is_what_was_streamed(
    client: AnyClient, stack: Stack
) -> None:
    job = await client.submit(chat("sim?tokens=60&rate=600"), metadata={"who": "me"})
    assert job["state"] == "queued" and job["metadata"] == {"who": "me"}
    transcript, events = await heard(client, job["id"])
    result = await client.result(job["id"])

    assert transcript.text == result["output_text"] == await served(stack, job["id"]) != ""
    assert isinstance(events[0], Started) and isinstance(transcript.end, Completed)
    assert transcript.end.usage == result["usage"]
    assert transcript.cursor == result["cursor"] == f"1-{len(transcript.text) + 1}"


async def test_the_result_of_a_job_that_runs_is_waited_for(client: AnyClient) -> None:
    job = await client.submit(chat("sim?tokens=40&rate=100"))
    result = await client.result(job["id"], check=True)

    assert (result["state"], result["finish_reason"]) == ("completed", "stop")


async def test_an_attempt_that_came_to_nothing_is_not_in_the_text(
    client: AnyClient, stack: Stack
) -> None:
    job = await client.submit(chat("sim?tokens=30&rate=600&fault=cut-eof&vary=1"))
    transcript, events = await heard(client, job["id"])
    result = await client.result(job["id"])

    (retrying,) = [event for event in events if isinstance(event, Retrying)]
    assert (retrying.reason, retrying.code) == ("error", "stream_truncated")
    assert transcript.text == result["output_text"] == await served(stack, job["id"])


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("sim-reasoning?tokens=9&rate=0", {"n": 2}),
        ("sim-tools?rate=0&tools=2", {"tools": [TOOL, TOOL]}),
        ("sim?tokens=9&rate=0&refusal=1", {}),
    ],
    ids=["two choices that reason", "tool calls", "a refusal"],
)
async def test_every_part_of_an_answer_is_held(
    client: AnyClient, model: str, more: dict[str, Any]
) -> None:
    job = await client.submit(chat(model, **more))
    live, _ = await heard(client, job["id"])
    again, _ = await heard(client, job["id"])

    result = await client.result(job["id"])
    for transcript in (live, again):
        check_parts(transcript, result)


async def test_a_job_that_failed_is_returned_or_raised_as_the_caller_likes(
    client: AnyClient,
) -> None:
    job = await client.submit(chat("sim?fault=context-length"))
    transcript, _ = await heard(client, job["id"])
    result = await client.result(job["id"])

    assert isinstance(transcript.end, Failed) and transcript.end.error
    assert result["error"] and result["error"]["category"] == "context_length"
    assert transcript.end.error.category == "context_length"
    assert transcript.end.error.message == result["error"]["message"]
    with pytest.raises(JobFailed, match=f"job {job['id']} is failed: context_length/") as failure:
        await client.result(job["id"], check=True)
    assert failure.value.category == "context_length" and failure.value.job == result


async def test_a_length_limit_ends_as_incomplete_and_keeps_its_text(client: AnyClient) -> None:
    job = await client.submit(chat("sim?tokens=50&rate=0", max_tokens=5))
    transcript, _ = await heard(client, job["id"])
    result = await client.result(job["id"], check=True)

    assert isinstance(transcript.end, Incomplete) and transcript.end.finish_reason == "length"
    assert result["state"] == "incomplete" and result["output_text"] == transcript.text != ""


async def test_a_job_that_is_cancelled_in_mid_stream_ends_without_text(client: AnyClient) -> None:
    job = await client.submit(chat("sim?tokens=10000&rate=50"))
    transcript, cancelled = Transcript(), None
    async with aclosing(client.follow(job["id"])) as events:
        async for event in events:
            transcript.apply(event)
            if isinstance(event, Delta) and cancelled is None:
                cancelled = await client.cancel(job["id"])

    assert cancelled and cancelled["state"] == "cancelled"
    assert isinstance(transcript.end, Cancelled) and transcript.text == ""
    assert (await client.cancel(job["id"]))["state"] == "cancelled"
    with pytest.raises(JobFailed, match="is cancelled"):
        await client.result(job["id"], check=True)


async def test_a_cursor_goes_on_where_it_stands_and_one_beyond_the_end_is_refused(
    client: AnyClient,
) -> None:
    job = await client.submit(chat("sim?tokens=30&rate=600"))
    transcript, events = await heard(client, job["id"])
    middle = events[len(events) // 2]
    rest = [event async for event in client.follow(job["id"], middle.id)]

    for event in [event for event in events if event not in rest] + rest:
        transcript.apply(event)
    assert transcript.text == (await client.get(job["id"]))["output_text"]
    assert [event async for event in client.follow(job["id"], events[-1].id)] == []
    for beyond in ("1-99999", "over there"):
        with pytest.raises(InvalidCursor) as refused:
            await heard(client, job["id"], beyond)
        assert (refused.value.status, refused.value.code) == (400, "invalid_cursor")


async def test_what_is_wrong_with_a_request_is_said(client: AnyClient) -> None:
    key = "order-of-" + type(client).__name__
    job = await client.submit(chat("sim-fast?tokens=1"), idempotency_key=key)
    again = await client.submit(chat("sim-fast?tokens=1"), idempotency_key=key)
    assert again["id"] == job["id"]
    with pytest.raises(Conflict, match=key):
        await client.submit(chat("sim-fast?tokens=2"), idempotency_key=key)
    with pytest.raises(InvalidRequest, match="temperature") as refused:
        await client.submit(chat("sim", "my secret prompt", temperature="hot"))
    assert (refused.value.status, refused.value.param) == (400, "temperature")
    assert "secret" not in repr(refused.value)
    for ask in (client.get, client.cancel, client.erase, client.retry, client.result):
        with pytest.raises(NotFound):
            await ask("job_that_nobody_knows")
    with pytest.raises(NotFound):
        await heard(client, "../../healthz")


async def test_many_are_accepted_or_refused_each_for_itself(client: AnyClient) -> None:
    good: JobRequest = {"request": chat("sim-fast?tokens=3")}
    first, second, third = await client.submit_many([good, {"request": chat("sim", n=0)}, good])

    assert isinstance(second, InvalidRequest) and second.param == "n"
    assert isinstance(first, dict) and isinstance(third, dict) and first["id"] != third["id"]
    for job in (first, third):
        assert (await client.result(job["id"]))["state"] == "completed"
    assert list(await client.submit_many([])) == []


async def test_a_listing_goes_on_over_its_pages(client: AnyClient) -> None:
    mine = {"list": type(client).__name__}
    fields: JobRequest = {"request": chat("sim-fast?tokens=1"), "metadata": mine}
    jobs = await client.submit_many([fields] * 5)
    ids = {job["id"] for job in jobs if isinstance(job, dict)}
    for id in ids:
        await client.result(id)

    found = [job["id"] async for job in client.list(metadata=mine, page_size=2)]
    assert len(found) == 5 and set(found) == ids
    older = client.list(metadata=mine, after=found[2], state=["completed", "failed"])
    assert [job["id"] async for job in older] == found[3:]
    assert [job async for job in client.list(metadata=mine, state="queued")] == []
    with pytest.raises(InvalidRequest, match="limit"):
        await anext(aiter(client.list(page_size=0)))


async def test_an_ended_job_is_tried_again_and_erased(client: AnyClient) -> None:
    job = await client.submit(chat("sim-fast?tokens=4"))
    await client.result(job["id"])
    again = await client.retry(job["id"], idempotency_key=job["id"])
    assert again["retry_of"] == job["id"] != again["id"]
    assert (await client.retry(job["id"], idempotency_key=job["id"]))["id"] == again["id"]

    await client.erase(job["id"])
    await client.erase(job["id"])
    assert not (await client.get(job["id"]))["output_text"]
    with pytest.raises(Conflict, match="no request any more"):
        await client.retry(job["id"])


async def test_a_token_opens_the_events_of_its_job(client: AnyClient, address: str) -> None:
    job = await client.submit(chat("sim-fast?tokens=4"))
    await client.result(job["id"])
    token = await client.token(job["id"], expires_in_s=60)

    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(address + token["url"])
    assert answer.status_code == 200 and "event: completed" in answer.text
