"""Makes jobs, attempts and what they hold, with as few words as a test wants to say about them."""

import hashlib
import secrets
from datetime import UTC, datetime
from typing import Any

from models import Attempt, Job, JobState
from worker.errors import UpstreamError
from worker.request import JobRequest
from worker.store import Holds, Store

DEADLINE_S = 3600.0


def new_id() -> str:
    """A job id that nobody has used."""
    return f"job_{secrets.token_hex(12)}"


def request(prompt: str = "hello", **fields: Any) -> JobRequest:
    """A valid request; the same prompt has the same hash."""
    body: dict[str, object] = {
        "model": "sim",
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
    }
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()
    return JobRequest(**{"body": body, "model": "sim", "hash": digest, **fields})


async def queue(store: Store, id: str | None = None, **fields: Any) -> str:
    """Insert a job; its id."""
    job, _ = await store.jobs.insert(
        request(**fields), id=id or new_id(), tenant="default", deadline_s=DEADLINE_S
    )
    return job.id


async def claimed(store: Store, id: str | None = None, lease_s: float = 30.0) -> Job:
    """Insert a job where `id` is None, and claim it."""
    job = await store.holds.claim(id or await queue(store), lease_s)
    assert job is not None
    return job


def attempt(job: Job, **fields: Any) -> Attempt:
    """The record of a request that the holder of `job` made."""
    now = datetime.now(UTC)
    known = {"job_id": job.id, "number": job.attempt, "upstream": "simulator"}
    return Attempt(**{**known, "started_at": now, "finished_at": now, "length": 0, **fields})


def ended(job: Job, text: str = "done", state: JobState = JobState.COMPLETED) -> Job:
    """The claimed job with the columns of an end, ready to be settled."""
    job.state = state.value
    job.output_text, job.length, job.finish_reason = text, len(text), "stop"
    job.output = [{"index": 0, "role": "assistant", "content": text, "finish_reason": "stop"}]
    return job


async def failed(holds: Holds, record: Attempt, charge: str | None = "failures") -> bool:
    """Record the failed attempt and raise the fence."""
    return await holds.next_attempt(record.job_id, record.number, charge, record)


async def deferred(
    holds: Holds, record: Attempt, due: datetime, charge: str | None = "failures"
) -> bool:
    """Give the job back until `due`."""
    return await holds.defer(record.job_id, record.number, due, charge, record)


class NoBatches:
    """Jobs of a batch do not come here."""

    def refill(self) -> None:
        raise AssertionError

    async def suspended(self, id: str, error: UpstreamError, for_s: float) -> None:
        raise AssertionError
