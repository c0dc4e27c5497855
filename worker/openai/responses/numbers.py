"""Ids of responses and their items, and the sequence numbers of their events.

A number is `attempt * 2^32 + offset * 64 + k`, a pure function of what the event says:

    created, queued, in_progress   0, 1, 2
    a delta                        its own offset, k 0
    what opens before it           the offset where it begins, k from 8 up
    what closes at an attempt's end    the attempt's last offset, k from 32 up
    the end                        one past the last offset, k 63

However often a log is cut anew, an event that is sent has the number it always had. JavaScript's
numbers are exact up to 2^53, which is 2 million attempts of 67 million characters.
"""

from worker.channel.events import Cursor
from worker.ids import JOB

CREATED, QUEUED, IN_PROGRESS = 0, 1, 2

ATTEMPT = 1 << 32
CHARACTER = 1 << 6
OPENING, CLOSING, END = 8, 32, 63

RESPONSE = "resp_"


def response_id(job: str) -> str:
    """The id of the response that this job is."""
    return RESPONSE + job.removeprefix(JOB)


def job_id(response: str) -> str:
    """The id of the job that this response is; of what is no response's id, one no job has."""
    return JOB + response.removeprefix(RESPONSE) if response.startswith(RESPONSE) else ""


def item_id(kind: str, job: str, attempt: int, index: int | None = None) -> str:
    """The id of an attempt's output item; `index` tells the calls of an attempt apart."""
    own = f"{kind}_{job.removeprefix(JOB)}_{attempt}"
    return own if index is None else f"{own}_{index}"


def number(attempt: int, offset: int, k: int = 0) -> int:
    """The sequence number of an event of an attempt."""
    return attempt * ATTEMPT + offset * CHARACTER + k


def place(sequence_number: int) -> Cursor:
    """The attempt of an event, and the characters of it that its reader has."""
    attempt, rest = divmod(sequence_number, ATTEMPT)
    return Cursor(attempt, rest // CHARACTER)
