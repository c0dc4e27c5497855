"""The event that tells of an end, a job's or a batch's, and the headers that prove who sent it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
from standardwebhooks import Webhook

from models import Batch
from worker.job_object import job_object
from worker.store import Told


def event_id(told: Told) -> str:
    """Names the event, the same at each try: what it tells of ends once."""
    return f"evt_{told.id}"


def name_of(told: Told) -> str:
    """What it tells of, for people."""
    return f"batch {told.id}" if isinstance(told, Batch) else f"job {told.id}"


def body_of(told: Told) -> bytes:
    """The event in OpenAI's shape: of a job its object as it stands, never what was asked; of a
    batch its id, as OpenAI does it.
    """
    data: dict[str, object]
    if isinstance(told, Batch):
        kind, data = f"batch.{told.status}", {"id": told.id}
        ended_at = getattr(told, f"{told.status}_at")
    else:
        kind, data, ended_at = f"job.{told.state}", job_object(told), told.finished_at
    event = {
        "id": event_id(told),
        "object": "event",
        "created_at": int((ended_at or told.created_at).timestamp()),
        "type": kind,
        "data": data,
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
