"""The event that tells of a job's end, and the headers that prove who sent it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook

from models import Job
from worker.job_object import job_object


def event_id(job: Job) -> str:
    """Names the event, the same at each try: a job ends once."""
    return f"evt_{job.id}"


def body_of(job: Job) -> bytes:
    """The event in OpenAI's shape: the job object as it stands, never what was asked."""
    ended_at = job.finished_at or job.created_at
    event = {
        "id": event_id(job),
        "object": "event",
        "created_at": int(ended_at.timestamp()),
        "type": f"job.{job.state}",
        "data": job_object(job),
    }
    return msgspec.json.encode(event)


class Signer:
    """Signs with each of the secrets, so that a receiver may know any one of them."""

    def __init__(self, secrets: Sequence[str]) -> None:
        self._keys = [Webhook(secret) for secret in secrets]

    def headers(self, id: str, body: bytes) -> Mapping[str, str]:
        """The three headers of Standard Webhooks, as of now."""
        now, text = datetime.now(UTC), body.decode()
        return {
            "webhook-id": id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(key.sign(id, now, text) for key in self._keys),
        }
