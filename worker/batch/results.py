"""The results of a batch, as OpenAI's files have them: one line for each row, in one of two."""

from typing import NamedTuple

import msgspec

from models import Job, JobState
from worker.batch.request import CHAT
from worker.openai.completion import completion
from worker.openai.failure import failure_of
from worker.openai.responses.document import response
from worker.store import EXPIRED

REQUEST = "batch_req_"


class Line(NamedTuple):
    """One row's line, and whether it belongs into the output file; else into that of errors."""

    is_output: bool
    content: bytes


def line_of(job: Job, endpoint: str) -> Line:
    """The line of an ended row, with its line feed."""
    is_output = job.state in (JobState.COMPLETED, JobState.INCOMPLETE)
    document = {
        "id": REQUEST + job.id.removeprefix("job_"),
        "custom_id": job.custom_id,
        **(_answer(job, endpoint) if is_output else _failure(job)),
    }
    return Line(is_output, msgspec.json.encode(document) + b"\n")


def _answer(job: Job, endpoint: str) -> dict[str, object]:
    body = completion(job, {}) if endpoint == CHAT else response(job)
    return {"response": _response(job, 200, body), "error": None}


def _failure(job: Job) -> dict[str, object]:
    """Why there is no output: the upstream's own words, or that the row was never run."""
    if job.state == JobState.CANCELLED:
        message = "the batch was cancelled before this row had ended"
        return {"response": None, "error": {"code": "batch_cancelled", "message": message}}
    if job.error_code == EXPIRED:
        error = {"code": EXPIRED, "message": job.error_message}
        return {"response": None, "error": error}
    failure = failure_of(job)
    error = {
        "message": failure.message, "type": failure.type, "param": None, "code": failure.code,
    }  # fmt: skip
    return {"response": _response(job, failure.status, {"error": error}), "error": None}


def _response(job: Job, status: int, body: object) -> dict[str, object]:
    request_id = job.upstream_request_id or job.id
    return {"status_code": status, "request_id": request_id, "body": body}
