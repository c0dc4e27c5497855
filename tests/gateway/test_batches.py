"""OpenAI's own client runs batches as they are: upload, create, wait, download, cancel, list."""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import httpx
import openai as sdk
import pytest
from openai import AsyncOpenAI
from openai.types import Batch

from tests.stack import Stack, chat
from tests.wire import until

CHAT: Literal["/v1/chat/completions"] = "/v1/chat/completions"
RESPONSES = "/v1/responses"
FAST = "sim?tokens=3&rate=0&ttft=0"
SLOW = "sim?tokens=400&rate=5&ttft=0"
ENDED = ("completed", "failed", "expired", "cancelled")


def line(custom_id: str, body: dict[str, object], url: str = CHAT) -> dict[str, object]:
    """A row as OpenAI's files have it."""
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": body}


def content(rows: Sequence[object]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def uploaded(openai: AsyncOpenAI, rows: Sequence[object]) -> str:
    file = await openai.files.create(file=("rows.jsonl", content(rows)), purpose="batch")
    return file.id


async def created(openai: AsyncOpenAI, rows: Sequence[object], **more: Any) -> Batch:
    fields: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **more}
    return await openai.batches.create(input_file_id=await uploaded(openai, rows), **fields)


async def seen(openai: AsyncOpenAI, id: str, wanted: Callable[[Batch], bool]) -> Batch:
    """The batch once it is as wanted."""
    found: list[Batch] = []

    async def is_so() -> bool:
        found.append(await openai.batches.retrieve(id))
        return wanted(found[-1])

    await until(is_so)
    return found[-1]


async def ended(openai: AsyncOpenAI, id: str) -> Batch:
    """The batch when it has ended."""
    return await seen(openai, id, lambda batch: batch.status in ENDED)


def completed(batch: Batch) -> int:
    return batch.request_counts.completed if batch.request_counts else 0


async def lines_of(openai: AsyncOpenAI, file: str | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    text = (await openai.files.content(file)).text
    return [json.loads(each) for each in text.splitlines()]


async def test_a_batch_runs_from_upload_to_download(live: Stack, openai: AsyncOpenAI) -> None:
    rows = [line(f"row-{n}", chat(FAST, f"prompt {n}")) for n in range(30)]
    batch = await created(openai, rows, metadata={"run": "nightly"})
    assert (batch.object, batch.status, batch.endpoint) == ("batch", "validating", CHAT)
    assert batch.metadata == {"run": "nightly"}
    batch = await ended(openai, batch.id)
    assert batch.status == "completed" and batch.error_file_id is None
    assert batch.request_counts is not None
    assert batch.request_counts.model_dump() == {"total": 30, "completed": 30, "failed": 0}
    assert batch.usage is not None and batch.usage.output_tokens == 90
    assert (batch.model, batch.completed_at is not None) == (FAST, True)
    found = await lines_of(openai, batch.output_file_id)
    assert {each["custom_id"] for each in found} == {f"row-{n}" for n in range(30)}
    for each in found:
        assert each["error"] is None and each["response"]["status_code"] == 200
        body = sdk.types.chat.ChatCompletion.model_validate(each["response"]["body"])
        assert body.choices[0].finish_reason == "stop" and body.choices[0].message.content
    file = await openai.files.retrieve(str(batch.output_file_id))
    assert (file.purpose, file.filename) == ("batch_output", f"{batch.id}_output.jsonl")


async def test_rows_that_fail_are_told_in_the_file_of_errors(
    live: Stack, openai: AsyncOpenAI
) -> None:
    bad = "sim?fault=content-policy&times=all"
    rows = [line("good", chat(FAST)), line("bad", chat(bad))]
    batch = await created(openai, rows, extra_body={"mixed_models": True})
    batch = await ended(openai, batch.id)
    assert batch.status == "completed" and batch.model is None
    (good,), (failed,) = [
        await lines_of(openai, file) for file in (batch.output_file_id, batch.error_file_id)
    ]
    assert (good["custom_id"], failed["custom_id"]) == ("good", "bad")
    assert failed["error"] is None and failed["response"]["status_code"] == 400
    assert set(failed["response"]["body"]["error"]) == {"message", "type", "param", "code"}


async def test_a_batch_all_of_whose_rows_failed_is_completed_without_output(
    live: Stack, openai: AsyncOpenAI
) -> None:
    rows = [line(str(n), chat("sim?fault=content-policy&times=all")) for n in range(3)]
    batch = await ended(openai, (await created(openai, rows)).id)
    assert (batch.status, batch.output_file_id) == ("completed", None)
    assert len(await lines_of(openai, batch.error_file_id)) == 3


async def test_rows_may_be_responses(live: Stack, openai: AsyncOpenAI) -> None:
    rows = [
        line(n, {"model": FAST, "input": f"number {n}", "metadata": {"n": n}}, RESPONSES)
        for n in "012"
    ]
    batch = await ended(openai, (await created(openai, rows, endpoint=RESPONSES)).id)
    assert batch.status == "completed"
    for each in await lines_of(openai, batch.output_file_id):
        body = sdk.types.responses.Response.model_validate(each["response"]["body"])
        assert body.status == "completed" and body.output_text
        assert body.metadata == {"n": each["custom_id"]}


async def test_what_is_wrong_with_a_file_is_told_by_line(live: Stack, openai: AsyncOpenAI) -> None:
    rows = [
        line("one", chat(FAST)),
        line("one", chat(FAST)),
        line("url", chat(FAST), "/v1/embeddings"),
        line("model", chat("gpt-unknown")),
        line("message", {"model": FAST, "messages": []}),
    ]
    id = (await openai.files.create(file=("x", content(rows) + b"{nothing\n"), purpose="batch")).id
    batch = await openai.batches.create(input_file_id=id, endpoint=CHAT, completion_window="24h")
    batch = await ended(openai, batch.id)
    assert batch.status == "failed" and batch.failed_at and batch.errors and batch.errors.data
    assert batch.output_file_id is batch.error_file_id is None
    told = [(fault.line, fault.code) for fault in batch.errors.data]
    assert told[:2] == [(2, "duplicate_custom_id"), (3, "url_mismatch")]
    assert told[-2:] == [(5, "invalid_request"), (6, "invalid_json_line")]
    assert [fault.param for fault in batch.errors.data][-2] == "body.messages"


async def test_an_empty_file_fails(live: Stack, openai: AsyncOpenAI) -> None:
    id = (await openai.files.create(file=("x", b"\n\n"), purpose="batch")).id
    batch = await openai.batches.create(input_file_id=id, endpoint=CHAT, completion_window="24h")
    batch = await ended(openai, batch.id)
    assert batch.errors and batch.errors.data and batch.errors.data[0].code == "empty_file"


async def test_a_cancelled_batch_keeps_what_has_ended_and_tells_of_each_row(
    live: Stack, openai: AsyncOpenAI
) -> None:
    rows = [line(f"fast-{n}", chat(FAST, str(n))) for n in range(5)]
    rows += [line(f"slow-{n}", chat(SLOW, str(n))) for n in range(5)]
    batch = await created(openai, rows, extra_body={"mixed_models": True})
    await seen(openai, batch.id, lambda batch: completed(batch) >= 5)
    batch = await openai.batches.cancel(batch.id)
    assert batch.status in ("cancelling", "cancelled") and batch.cancelling_at
    batch = await ended(openai, batch.id)
    assert batch.status == "cancelled" and batch.cancelled_at
    output = await lines_of(openai, batch.output_file_id)
    errors = await lines_of(openai, batch.error_file_id)
    assert {each["custom_id"] for each in output} == {f"fast-{n}" for n in range(5)}
    assert {each["error"]["code"] for each in errors} == {"batch_cancelled"}
    assert all(each["response"] is None for each in errors)
    assert len(output) + len(errors) == 10


async def test_a_batch_has_its_completion_window(live: Stack, openai: AsyncOpenAI) -> None:
    rows = [line(f"row-{n}", chat(SLOW, str(n))) for n in range(3)]
    batch = await created(openai, rows)
    assert batch.expires_at is not None
    assert batch.expires_at - batch.created_at == 24 * 3600


async def test_batches_are_listed_newest_first_page_by_page(
    live: Stack, openai: AsyncOpenAI
) -> None:
    made = [(await created(openai, [line("a", chat(FAST))])).id for _ in range(3)]
    page = await openai.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert page.has_more
    rest = await page.get_next_page()
    assert rest.data[0].id == made[0]


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "soon"}, "completion_window"),
        ({"completion_window": "30s"}, "completion_window"),
        ({"metadata": {"a": "x" * 600}}, "metadata.a"),
        ({"output_expires_after": {"anchor": "created_at", "seconds": 1}},
         "output_expires_after.seconds"),
        ({"extra_body": {"run_window": "all night"}}, "run_window"),
        ({"extra_body": {"max_cost": 0}}, "max_cost"),
        ({"extra_body": {"nonsense": 1}}, "nonsense"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_by_name(
    live: Stack, openai: AsyncOpenAI, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        await created(openai, [line("a", chat(FAST))], **given)
    assert refused.value.param == param


async def test_a_batch_of_no_file_is_refused(live: Stack, openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.BadRequestError) as refused:
        await openai.batches.create(
            input_file_id="file-none", endpoint=CHAT, completion_window="24h"
        )
    assert refused.value.param == "input_file_id"
    with pytest.raises(sdk.NotFoundError):
        await openai.batches.retrieve("batch_none")


async def test_a_paused_batch_begins_no_rows_until_it_is_resumed(
    live: Stack, openai: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    batch = await created(openai, [line("a", chat(FAST))], extra_body={"run_window": _closed()})
    await seen(openai, batch.id, lambda batch: batch.status == "in_progress")
    paused = (await http.post(f"/v1/batches/{batch.id}/pause")).json()
    assert paused["paused"]["reason"] == "requested"
    resumed = (await http.post(f"/v1/batches/{batch.id}/resume")).json()
    assert resumed["paused"] is None
    # Its window is closed for hours: not one row has begun.
    assert resumed["request_counts"] == {"total": 1, "completed": 0, "failed": 0}
    assert (await http.post(f"/v1/batches/{batch.id}/cancel")).status_code == 200
    assert (await ended(openai, batch.id)).status == "cancelled"


async def test_rows_are_downloadable_while_the_batch_runs(
    live: Stack, openai: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    rows = [line("slow", chat(SLOW)), *[line(f"fast-{n}", chat(FAST, str(n))) for n in range(4)]]
    batch = await created(openai, rows, extra_body={"mixed_models": True})
    await seen(openai, batch.id, lambda batch: completed(batch) >= 4)
    found = await http.get(f"/v1/batches/{batch.id}/results")
    assert found.headers["content-type"] == "application/jsonl"
    ids = [json.loads(each)["custom_id"] for each in found.text.splitlines()]
    assert ids == [f"fast-{n}" for n in range(4)]
    page = await http.get(f"/v1/batches/{batch.id}/report")
    assert page.status_code == 200 and batch.id in page.text
    await http.post(f"/v1/batches/{batch.id}/cancel")


async def test_failed_rows_run_once_more_in_a_batch_of_their_own(
    live: Stack, openai: AsyncOpenAI, http: httpx.AsyncClient
) -> None:
    flaky = "sim?fault=content-policy&times=1&key={}"
    rows = [line(str(n), chat(flaky.format(n), str(n))) for n in range(3)]
    rows.append(line("good", chat(FAST)))
    batch = await created(openai, rows, extra_body={"mixed_models": True})
    batch = await ended(openai, batch.id)
    assert len(await lines_of(openai, batch.error_file_id)) == 3
    child = (await http.post(f"/v1/batches/{batch.id}/retry")).json()
    assert child["retry_of"] == batch.id
    again = await ended(openai, child["id"])
    assert again.status == "completed" and again.request_counts
    assert again.request_counts.model_dump() == {"total": 3, "completed": 3, "failed": 0}
    merged = (await http.get(f"/v1/batches/{batch.id}/results")).text.splitlines()
    assert [json.loads(each)["custom_id"] for each in merged] == ["0", "1", "2", "good"]
    nothing = await http.get(f"/v1/batches/{batch.id}/results", params={"kind": "errors"})
    assert nothing.text == ""
    refused = await http.post(f"/v1/batches/{child['id']}/retry", json={"categories": ["nope"]})
    assert refused.json()["error"]["param"] == "categories"


def _closed() -> str:
    """A run window that is not open now, nor soon."""
    hour = (datetime.now(UTC).hour + 6) % 24
    return f"{hour:02}:00-{hour:02}:30 UTC"
