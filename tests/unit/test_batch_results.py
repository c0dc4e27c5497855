"""Rows as lines of OpenAI's files: what was answered, what failed, and what was never run."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from models import Batch, Job, JobState
from tests.batches import BODY, batch
from tests.jobs import ended
from worker.batch.results import line_of
from worker.errors import Category
from worker.job_object import job_object
from worker.store import EXPIRED
from worker.stream.extras import BESIDE, encoded

NOW = datetime(2026, 6, 1, tzinfo=UTC)
USAGE = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}


def job(state: JobState = JobState.COMPLETED, **columns: Any) -> Job:
    known: dict[str, Any] = {
        "id": "job_7",
        "custom_id": "row-7",
        "model": "sim",
        "request": BODY,
        "lane": "bulk",
    }
    known |= {"created_at": NOW, "started_at": NOW, "finished_at": NOW, "attempt": 1, "length": 0}
    made = Job(**known)
    ended(made, state=state)
    for name, value in columns.items():
        setattr(made, name, value)
    return made


def line(row: Job, of: Batch | None = None) -> tuple[bool, dict[str, Any]]:
    is_output, content = line_of(row, of or batch())
    assert content.endswith(b"\n") and content.count(b"\n") == 1
    document = msgspec.json.decode(content)
    assert document.keys() == {"id", "custom_id", "response", "error"}
    assert (document["id"], document["custom_id"]) == ("batch_req_7", "row-7")
    return is_output, document


@pytest.mark.parametrize("state", [JobState.COMPLETED, JobState.INCOMPLETE])
def test_a_chat_is_answered_by_a_completion(state: JobState) -> None:
    is_output, document = line(job(state, usage=USAGE, upstream_request_id="req-1"))
    assert is_output and document["error"] is None
    response = document["response"]
    assert (response["status_code"], response["request_id"]) == (200, "req-1")
    assert response["body"]["object"] == "chat.completion"
    assert response["body"]["choices"][0]["message"]["content"] == "done"
    assert response["body"]["usage"]["total_tokens"] == 10


def test_a_response_is_answered_by_a_response() -> None:
    row = job(response_fields={"instructions": "Be brief."})
    is_output, document = line(row, batch(endpoint="/v1/responses"))
    body = document["response"]["body"]
    assert is_output and body["object"] == "response"
    assert (body["instructions"], body["status"]) == ("Be brief.", "completed")


def test_texts_with_line_feeds_stay_on_one_line() -> None:
    text = "one\ntwo\r\n\u2028three"
    row = ended(job(), text=text)
    _, document = line(row)
    assert document["response"]["body"]["choices"][0]["message"]["content"] == text


def test_a_row_that_failed_tells_the_upstreams_own_words() -> None:
    row = job(
        JobState.FAILED,
        error_category="rate_limit",
        error_code="tokens",
        error_status=429,
        error_message="too many tokens",
    )
    is_output, document = line(row)
    assert not is_output and document["error"] is None
    response = document["response"]
    assert (response["status_code"], response["request_id"]) == (429, "job_7")
    error = response["body"]["error"]
    assert (error["code"], error["message"]) == ("tokens", "too many tokens")
    assert error["type"] == "rate_limit_error" and error["param"] is None


@pytest.mark.parametrize("category", list(Category))
def test_every_failure_has_an_http_status(category: Category) -> None:
    is_output, document = line(job(JobState.FAILED, error_category=category.value))
    assert not is_output and document["error"] is None
    assert 400 <= document["response"]["status_code"] <= 599
    assert document["response"]["body"]["error"]["message"]


def test_an_error_within_a_stream_does_not_look_like_success() -> None:
    row = job(JobState.FAILED, error_category="server", error_status=200)
    assert line(row)[1]["response"]["status_code"] == 500


def test_a_row_that_was_never_run_has_no_response() -> None:
    expired = job(
        JobState.FAILED, error_category="deadline", error_code=EXPIRED, error_message="too late"
    )
    assert line(expired) == (
        False,
        {
            "id": "batch_req_7",
            "custom_id": "row-7",
            "response": None,
            "error": {"code": "batch_expired", "message": "too late"},
        },
    )


@pytest.mark.parametrize(
    ("batch_ago_s", "code", "said"),
    [
        (1, "batch_cancelled", "the batch was cancelled"),
        (0, "batch_cancelled", "the batch was cancelled"),
        (-1, "cancelled", "job job_7 was cancelled"),
        (None, "cancelled", "job job_7 was cancelled"),
    ],
)
def test_a_cancelled_row_tells_whether_its_batch_was_or_it_alone(
    batch_ago_s: float | None, code: str, said: str
) -> None:
    at = None if batch_ago_s is None else NOW - timedelta(seconds=batch_ago_s)
    is_output, document = line(job(JobState.CANCELLED), batch(cancelling_at=at))
    assert not is_output and document["response"] is None
    assert document["error"]["code"] == code and said in document["error"]["message"]


def test_log_probabilities_stand_in_their_choice_and_what_is_unknown_in_its_message() -> None:
    row = job()
    logprobs = {"content": [{"token": "done", "logprob": -0.1}], "refusal": None}
    assert row.output is not None
    row.output[0][BESIDE] = encoded({"logprobs": logprobs, "citations": ["x"]})
    (choice,) = line(row)[1]["response"]["body"]["choices"]
    assert choice["logprobs"] == logprobs
    assert choice["message"] == {
        "refusal": None, "role": "assistant", "content": "done", "citations": ["x"],
    }  # fmt: skip
    assert line(job())[1]["response"]["body"]["choices"][0]["logprobs"] is None


def test_a_job_object_leaves_to_the_results_what_came_beside_a_text() -> None:
    row = job()
    plain = job_object(row)
    assert row.output is not None
    row.output = [{**row.output[0], BESIDE: encoded({"logprobs": {}})}]
    assert job_object(row) == plain
