"""The results of a batch, as OpenAI's files have them: one line for each row, in one of two."""

from typing import NamedTuple

import msgspec

from models import ANSWERED, Batch, Job, JobState
from worker.batch.request import CHAT
from worker.ids import JOB
from worker.openai.completion import completion
from worker.openai.failure import failure_of
from worker.openai.responses.document import response
from worker.store import EXPIRED

REQUEST = "batch_req_"


class Line(NamedTuple):
    """One row's line, and whether it belongs into the output file; else into that of errors."""

    is_output: bool
    content: bytes


def line_of(job: Job, batch: Batch) -> Line:
    """The line of an ended row of the batch, with its line feed."""
    is_output = job.state in ANSWERED
    document = {
        "id": REQUEST + job.id.removeprefix(JOB),
        "custom_id": job.custom_id,
        **(_answer(job, batch.endpoint) if is_output else _failure(job, batch)),
    }
    return Line(is_output, msgspec.json.encode(document) + b"\n")


def _answer(job: Job, endpoint: str) -> dict[str, object]:
    body = completion(job, {}) if endpoint == CHAT else response(job)
    return {"response": _response(job, 200, body), "error": None}


def _failure(job: Job, batch: Batch) -> dict[str, object]:
    """Why there is no output: the upstream's own words, or that the row did not run to an end."""
    failure = failure_of(job)
    if job.state == JobState.CANCELLED:
        code, message = failure.code, failure.message
        if _went_with(job, batch):
            code = "batch_cancelled"
            message = "the batch was cancelled before this row had ended"
        return {"response": None, "error": {"code": code, "message": message}}
    if job.error_code == EXPIRED:
        error = {"code": EXPIRED, "message": job.error_message}
        return {"response": None, "error": error}
    error = {
        "message": failure.message, "type": failure.type, "param": None, "code": failure.code,
    }  # fmt: skip
    return {"response": _response(job, failure.status, {"error": error}), "error": None}


def _went_with(job: Job, batch: Batch) -> bool:
    """Whether a cancelled row was cancelled with its batch, rather than by itself before."""
    if batch.cancelling_at is None or job.finished_at is None:
        return False
    return job.finished_at >= batch.cancelling_at


def _response(job: Job, status: int, body: object) -> dict[str, object]:
    request_id = job.upstream_request_id or job.id
    return {"status_code": status, "request_id": request_id, "body": body}
