"""A job that failed or was cancelled, as the error that an OpenAI client expects."""

from models import Job, JobState
from worker.errors import Category
from worker.gateway.answers import JOB
from worker.gateway.refusals import Refusal

# The answer where the upstream named no HTTP status of its own.
STATUSES: dict[Category, int] = {
    Category.RATE_LIMIT: 429,
    Category.OVERLOADED: 503,
    Category.TIMEOUT: 504,
    Category.CONFLICT: 409,
    Category.CONNECTION: 502,
    Category.TRUNCATED: 502,
    Category.BILLING: 429,
    Category.AUTH: 401,
    Category.QUOTA_PERIOD: 429,
    Category.REQUEST_TOO_LARGE: 413,
    Category.CONTENT_FILTER: 400,
    Category.CONTEXT_LENGTH: 400,
    Category.NOT_FOUND: 404,
    Category.BAD_REQUEST: 400,
    Category.NOT_EVENT_STREAM: 502,
    Category.SUSPENDED: 503,
    Category.DEADLINE: 504,
}
# `type` as OpenAI writes it, by status; above 499 and for what is not named `server_error`.
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def failure_of(job: Job) -> Refusal:
    """The answer that tells why the job has no output: the upstream's own status and words.

    A client need not try again: our own retries are spent, or would not help.
    """
    headers = {"x-should-retry": "false", JOB: job.id}
    if job.state == JobState.CANCELLED:
        message = f"job {job.id} was cancelled"
        return Refusal(409, message, type="conflict_error", code="cancelled", headers=headers)
    category = Category(job.error_category or Category.INTERNAL)
    status = job.error_status if job.error_status and job.error_status >= 400 else None
    status = status or STATUSES.get(category, 500)
    return Refusal(
        status,
        job.error_message or f"job {job.id} failed: {category.value}",
        type=TYPES.get(status, "server_error"),
        code=job.error_code or category.value,
        headers=headers,
    )
