"""An attempt: one hold of a job in which a request was sent to an upstream."""

from datetime import datetime

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Document, UtcDateTime


class Attempt(Base):
    """What one request to an upstream came to. `number` is the job's attempt, the fence."""

    __tablename__ = "attempts"

    job_id: Mapped[str] = mapped_column(
        String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(primary_key=True)
    upstream: Mapped[str] = mapped_column(String(64))
    model: Mapped[str | None] = mapped_column(String(255))
    upstream_request_id: Mapped[str | None] = mapped_column(String(255))

    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    first_delta_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime] = mapped_column(UtcDateTime)

    # The items this attempt opened, as runs (choice, part, length), and their length in all.
    parts: Mapped[list[tuple[int, str, int]] | None] = mapped_column(Document)
    length: Mapped[int] = mapped_column(default=0)
    finish_reason: Mapped[str | None] = mapped_column(String(255))
    usage: Mapped[dict[str, object] | None] = mapped_column(Document)

    error_category: Mapped[str | None] = mapped_column(String(32))
    error_code: Mapped[str | None] = mapped_column(String(255))
    error_status: Mapped[int | None]
    error_message: Mapped[str | None] = mapped_column(Text)
