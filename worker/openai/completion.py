"""The ended job as a chat completion."""

from collections.abc import Mapping

from models import Job
from worker.stream.extras import BESIDE, beside
from worker.stream.wire import Extra

LOGPROBS = "logprobs"
# What an end is called that the upstream gave no reason for.
UNREASONED = "stop"


def completion_id(job: str) -> str:
    """The completion's id; the job's stands in it."""
    return f"chatcmpl-{job.removeprefix('job_')}"


def completion(job: Job, extras: Mapping[int, Extra]) -> dict[str, object]:
    """The `chat.completion` object of a job that completed, or is incomplete.

    Args:
        job: its row.
        extras: by choice, what came beside the text: log probabilities, and what is unknown. Rows
            of batches have it in their output.
    """
    document: dict[str, object] = {
        "id": completion_id(job.id),
        "object": "chat.completion",
        "created": int(job.created_at.timestamp()),
        "model": job.model,
        "choices": [_choice(said, extras) for said in job.output or []],
    }
    return document if job.usage is None else {**document, "usage": job.usage}


def finish_reasons(job: Job) -> dict[int, str]:
    """Why each choice ended."""
    return {_index(said): str(said.get("finish_reason") or UNREASONED) for said in job.output or []}


def _reasoned(said: Mapping[str, object]) -> dict[str, object]:
    """A message with its reasoning under both names that clients look for."""
    reasoning = said.get("reasoning")
    return dict(said) if reasoning is None else {**said, "reasoning_content": reasoning}


def _choice(said: Mapping[str, object], extras: Mapping[int, Extra]) -> dict[str, object]:
    index = _index(said)
    extra = {**beside(said), **extras.get(index, {})}
    known = ("index", "finish_reason", BESIDE)
    message = {name: value for name, value in _reasoned(said).items() if name not in known}
    logprobs = extra.pop(LOGPROBS, None)
    return {
        "index": index,
        "message": {"refusal": None, **message, **extra},
        "logprobs": logprobs,
        "finish_reason": said.get("finish_reason") or UNREASONED,
    }


def _index(said: Mapping[str, object]) -> int:
    return int(str(said.get("index", 0)))
