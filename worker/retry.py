"""Whether a failed attempt is followed by another, and when: callables for tenacity.

They read the job's own columns, never tenacity's counter: a job goes on where another process
left it.
"""

import random
from typing import Protocol

from tenacity import RetryCallState

from models import Job
from worker.classify import is_transient
from worker.errors import UpstreamError

# Retries after the first request.
MOST_RETRIES = 3
# Full jitter: U(0, min(cap, base * 2^failures)), in seconds.
BASE_S, CAP_S = 0.5, 8.0
# A longer wait gives the slot back and goes on in the database.
LONGEST_HELD_WAIT_S = 30.0


class Held(Protocol):
    """What the callables need of the first argument of the function that tenacity calls."""

    job: Job


def is_retried(state: RetryCallState) -> bool:
    """Whether the error is one that may pass by itself."""
    error = failure(state)
    return error is not None and is_transient(error)


def is_over(state: RetryCallState) -> bool:
    """Whether the job's failures are used up; those before this one are in its row."""
    return _held(state).job.failures >= MOST_RETRIES


def wait_s(state: RetryCallState) -> float:
    """Seconds until the next attempt: what the upstream asked for and a little, or full jitter."""
    error = failure(state)
    if error is not None and error.retry_after_s is not None:
        asked = error.retry_after_s
        return asked + random.uniform(0, min(0.2 * asked, 5.0))  # noqa: S311  no secret
    limit = min(CAP_S, BASE_S * 2 ** _held(state).job.failures)
    return random.uniform(0, limit)  # noqa: S311  no secret


def failure(state: RetryCallState) -> UpstreamError | None:
    """The upstream's error that ended the attempt; None where it ended otherwise."""
    error = state.outcome.exception() if state.outcome else None
    return error if isinstance(error, UpstreamError) else None


def _held(state: RetryCallState) -> Held:
    held: Held = state.args[0]
    return held
