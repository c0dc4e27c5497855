"""Every error of the client, in one tree.

ClientError
├── ConnectionFailed      the gateway could not be reached for as long as patience lasts
├── JobFailed             the job has no output, and `check=True` asked to be told so
└── APIError              the gateway's answer is an error
    ├── InvalidRequest    400, 413, 415, 422: names the field at fault
    │   └── InvalidCursor a cursor that no reader of this job can have got
    ├── Unauthorized      401: no API key, or none that stands
    ├── Denied            403: this key may not do that
    ├── NotFound          404: no job of yours has this id
    ├── Conflict          409: another request has the id or key, or the job's state forbids it
    ├── RateLimited       429: come again after `retry_after_s`
    └── ServerFailed      500 and above

None shows an API key or a prompt. All of them can be pickled, so they pass through task queues.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.client.jobs import Job


class ClientError(Exception):
    """The root: `except ClientError` catches whatever the client raises on purpose.

    Attributes:
        cursor: where `follow` stood; given as `after`, it goes on from there. None elsewhere.
        retry_after_s: seconds the gateway asked to wait; None where it named none.
    """

    cursor: str | None = None
    retry_after_s: float | None = None


class ConnectionFailed(ClientError):
    """The gateway cannot be reached, or breaks off; its `__cause__` is httpx's error.

    What was asked may have been carried out all the same.
    """


class JobFailed(ClientError):
    """The job ended as failed or cancelled.

    The words of the upstream are in `job["error"]["message"]` only: they may quote a prompt.

    Attributes:
        job: the job object.
        category, code: of its error; None where it was cancelled.
    """

    def __init__(self, job: "Job") -> None:
        super().__init__(job)
        self.job = job
        error = job["error"]
        self.category = None if error is None else error["category"]
        self.code = None if error is None else error["code"]

    def __str__(self) -> str:
        why = "/".join(word for word in (self.category, self.code) if word)
        return f"job {self.job['id']} is {self.job['state']}" + (f": {why}" if why else "")

    def __repr__(self) -> str:
        return f"JobFailed({str(self)!r})"


def require_output(job: "Job") -> None:
    """Go on only if the job has an output of its own.

    Raises:
        JobFailed: it failed or was cancelled.
    """
    if job["state"] in ("failed", "cancelled"):
        raise JobFailed(job)


class APIError(ClientError):
    """The gateway's answer is an error.

    Attributes:
        message: its sentence.
        status: of the answer. An error that came inside an answer, as one of a list or at the
            end of a stream, has the status that it would have had by itself.
        code: the gateway's word for it (`invalid_value`), or None.
        param: the field at fault, or None.
        transient: whether the same may succeed later.
    """

    def __init__(
        self,
        message: str,
        status: int = 500,
        code: str | None = None,
        param: str | None = None,
        *,
        transient: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.transient = transient


class InvalidRequest(APIError):
    """A request that can never succeed."""


class InvalidCursor(InvalidRequest):
    """A cursor that is malformed, or lies beyond what the job has published."""


class Unauthorized(APIError):
    """No API key was sent, or none that stands."""


class Denied(APIError):
    """The key lacks a scope, or may not use the model."""


class NotFound(APIError):
    """No job of yours has this id."""


class Conflict(APIError):
    """The id or idempotency key belongs to another request, or the job is in the wrong state."""


class RateLimited(APIError):
    """Too many requests of this key, or too many jobs that wait."""


class ServerFailed(APIError):
    """The gateway cannot do it now, or has a fault."""
