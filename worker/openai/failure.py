"""A job that failed or was cancelled, as the error that an OpenAI client expects."""

from msgspec import Struct

from models import Job, JobState
from worker.errors import Category

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


class Failure(Struct, frozen=True):
    """Why a job has no output: the upstream's own status and words, where it had any."""

    status: int
    type: str
    code: str
    message: str


def failure_of(job: Job) -> Failure:
    """What is said of a job that failed, or was cancelled."""
    if job.state == JobState.CANCELLED:
        return Failure(409, "conflict_error", "cancelled", f"job {job.id} was cancelled")
    category = Category(job.error_category or Category.INTERNAL)
    status = job.error_status if job.error_status and job.error_status >= 400 else None
    status = status or STATUSES.get(category, 500)
    return Failure(
        status=status,
        type=TYPES.get(status, "server_error"),
        code=job.error_code or category.value,
        message=job.error_message or f"job {job.id} failed: {category.value}",
    )
