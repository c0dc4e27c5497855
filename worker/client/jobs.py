"""The documents of the API: plain dictionaries, with types for editors and type checkers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, TypedDict

State = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Lane = Literal["interactive", "bulk"]

# A job in one of these states stays in it.
END_STATES = ("completed", "incomplete", "failed", "cancelled")


class JobError(TypedDict):
    """Why a job failed. `message` is the upstream's own words."""

    category: str
    code: str | None
    status: int | None
    message: str | None


class Job(TypedDict):
    """The job object. Moments are ISO 8601 in UTC.

    `output_text` is the text of choice 0, so far while the job runs; `output` has all choices, as
    messages of a chat completion. `cursor` is where `follow` goes on after what this shows.
    """

    id: str
    object: Literal["job"]
    state: State
    lane: Lane
    model: str
    upstream: str | None
    attempt: int
    failures: int
    throttles: int
    output_text: str | None
    output: list[dict[str, Any]] | None
    finish_reason: str | None
    unverified: bool
    usage: dict[str, Any] | None
    cost: float | None
    error: JobError | None
    cursor: str
    metadata: dict[str, str]
    batch_id: str | None
    custom_id: str | None
    retry_of: str | None
    created_at: str
    scheduled_at: str | None
    started_at: str | None
    first_delta_at: str | None
    finished_at: str | None
    deadline_at: str | None


class JobFields(TypedDict, total=False):
    """What a job request may have beside its request. A moment needs a zone."""

    id: str
    idempotency_key: str
    lane: Lane
    scheduled_at: datetime | str
    deadline_at: datetime | str
    metadata: Mapping[str, str]
    webhook: str


class JobRequest(JobFields):
    """A job request, as `submit_many` takes them; `request` is a chat-completions body."""

    request: Mapping[str, Any]


class Token(TypedDict):
    """A read token: who has it may read one job's events until `expires_at`.

    `url` is the path of the events with the token in it; `expires_at` is in seconds since the
    epoch.
    """

    object: Literal["token"]
    token: str
    expires_at: int
    url: str
