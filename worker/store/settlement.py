"""A settlement: the end of a job, as its row and its last attempt's will say it.

It is a value of its own because it may have to wait for the database, in a file.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import func

from models import Attempt, Base, Job
from models.base import UtcDateTime

# The columns that the end of a job writes.
ENDING = (
    "state", "upstream", "upstream_request_id", "output_text", "output", "parts", "length",
    "finish_reason", "unverified", "usage", "first_delta_at",
    "error_category", "error_code", "error_status", "error_message",
)  # fmt: skip


class Settlement(msgspec.Struct, frozen=True):
    """The end of a job under one attempt.

    Attributes:
        id, attempt: the job, and the attempt under which it was held.
        columns: what its end writes, by the names of `Job`.
        record: the last request's row, by the names of `Attempt`; None where none was sent.
        spent: what the last request cost, to be added to what those before it did; None where
            that is not known. Files of versions that had no prices do not have it.
    """

    id: str
    attempt: int
    columns: dict[str, Any]
    record: dict[str, Any] | None
    spent: float | None = None

    @classmethod
    def of(cls, job: Job, attempt: Attempt | None, spent: float | None = None) -> "Settlement":
        """The end that stands in the job's columns."""
        columns = {name: getattr(job, name) for name in ENDING}
        record = None if attempt is None else columns_of(attempt)
        return cls(job.id, job.attempt, columns, record, spent)

    def encode(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, content: bytes) -> "Settlement":
        """What `encode` wrote.

        Raises:
            msgspec.DecodeError, ValueError: it was not written by it, or not whole.
        """
        found = msgspec.json.decode(content, type=cls)
        columns = _with_moments(Job, found.columns)
        record = None if found.record is None else _with_moments(Attempt, found.record)
        return cls(found.id, found.attempt, columns, record, found.spent)


def added(spent: float | None) -> dict[str, object]:
    """The column that adds up what a job costs, with this on top; unchanged where it is None."""
    return {} if spent is None else {"cost": func.coalesce(Job.cost, 0.0) + spent}


def columns_of(row: Base) -> dict[str, Any]:
    """The columns of a new row that were set."""
    return {name: row.__dict__[name] for name in _names(row) if name in row.__dict__}


def _names(row: Base) -> list[str]:
    return [str(attribute.key) for attribute in row.__mapper__.column_attrs]


def _with_moments(kind: type[Base], columns: Mapping[str, Any]) -> dict[str, Any]:
    types = {a.key: a.columns[0].type for a in kind.__mapper__.column_attrs}
    return {
        name: datetime.fromisoformat(value)
        if isinstance(value, str) and isinstance(types[name], UtcDateTime)
        else value
        for name, value in columns.items()
    }
