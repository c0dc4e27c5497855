"""A job as a response, in OpenAI's words."""

from collections.abc import Mapping

from models import Job, JobState
from worker.channel.replay import deltas
from worker.errors import Category
from worker.openai.responses.items import Items
from worker.openai.responses.numbers import response_id
from worker.usage import CACHE_WRITE, CACHED, INPUT, OUTPUT, REASONING, TOTAL, count

# What a response repeats of its request, and what it says where the request said nothing.
UNSAID: Mapping[str, object] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "store": True,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
# The codes that OpenAI gives a response's error; every other failure is the server's.
CODES: Mapping[str, str] = {
    Category.RATE_LIMIT: "rate_limit_exceeded",
    Category.QUOTA_PERIOD: "rate_limit_exceeded",
    Category.BILLING: "rate_limit_exceeded",
    Category.BAD_REQUEST: "invalid_prompt",
    Category.CONTEXT_LENGTH: "invalid_prompt",
    Category.CONTENT_FILTER: "invalid_prompt",
    Category.REQUEST_TOO_LARGE: "invalid_prompt",
}
# By finish reason: why a response is incomplete.
REASONS: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}


def response(job: Job) -> dict[str, object]:
    """The response that the job is, as its row stands. Moments are seconds since the epoch."""
    ended = JobState(job.state).terminal
    completed = job.state == JobState.COMPLETED
    finished = job.finished_at.timestamp() if completed and job.finished_at else None
    return {
        **beginning(job),
        "status": job.state,
        "completed_at": None if finished is None else int(finished),
        "error": _error(job),
        "incomplete_details": _incomplete_details(job),
        "output": output(job) if ended else [],
        "usage": _usage(job.usage) if ended and job.usage else None,
    }


def beginning(job: Job) -> dict[str, object]:
    """The response before it begins, but for its status."""
    return {
        "id": response_id(job.id),
        "object": "response",
        "created_at": int(job.created_at.timestamp()),
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "metadata": job.labels or {},
        "model": job.model,
        "output": [],
        "usage": None,
        **UNSAID,
        **(job.response_fields or {}),
    }


def output(job: Job) -> list[dict[str, object]]:
    """The items of an ended job: those of its last attempt."""
    items = Items(job.id, job.attempt, 0)
    for delta in deltas(job):
        if delta.choice == 0:
            for _ in items.take(delta):
                pass
    return items.documents("completed" if job.state == JobState.COMPLETED else "incomplete")


def _error(job: Job) -> dict[str, object] | None:
    if job.state != JobState.FAILED:
        return None
    category = job.error_category or Category.INTERNAL
    said = job.error_message or job.error_code or category
    return {"code": CODES.get(category, "server_error"), "message": said}


def _incomplete_details(job: Job) -> dict[str, object] | None:
    if job.state != JobState.INCOMPLETE:
        return None
    return {"reason": REASONS.get(job.finish_reason or "", job.finish_reason)}


def _usage(usage: Mapping[str, object]) -> dict[str, object]:
    taken, made = count(usage, *INPUT) or 0, count(usage, *OUTPUT) or 0
    return {
        "input_tokens": taken,
        "input_tokens_details": {
            "cached_tokens": count(usage, *CACHED) or 0,
            "cache_write_tokens": count(usage, *CACHE_WRITE) or 0,
        },
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": count(usage, *REASONING) or 0},
        "total_tokens": count(usage, *TOTAL) or taken + made,
    }
