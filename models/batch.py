"""A batch: many jobs from one file."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Double, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Document, Searchable, UtcDateTime, clock
from models.states import OPEN, BatchStatus

_STATUSES = ", ".join(f"'{status.value}'" for status in BatchStatus)
_OPEN = "status IN ({})".format(", ".join(f"'{status.value}'" for status in OPEN))
_KEPT = "webhook_due_at IS NULL AND forgotten_at IS NULL"


class Batch(Base):
    """Many jobs from one file, and what was asked for them together.

    Its rows are jobs with `batch_id`. A lease says who reads its file in, or writes its results;
    rows are added only under it.
    """

    __tablename__ = "batches"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64))
    endpoint: Mapped[str] = mapped_column(String(64))
    status: Mapped[str] = mapped_column(String(16), default=BatchStatus.VALIDATING.value)
    # None before its file is read, and where its rows name several.
    model: Mapped[str | None] = mapped_column(String(255))
    mixed_models: Mapped[bool] = mapped_column(default=False)
    labels: Mapped[dict[str, str] | None] = mapped_column("metadata", Searchable)
    input_file_id: Mapped[str] = mapped_column(String(64))
    output_file_id: Mapped[str | None] = mapped_column(String(64))
    error_file_id: Mapped[str | None] = mapped_column(String(64))
    output_life_s: Mapped[int | None]
    # The ended batch of which this one runs rows again.
    retry_of: Mapped[str | None] = mapped_column(String(64))
    # Which of its failed rows: by error category; None is all of them.
    retry_categories: Mapped[list[str] | None] = mapped_column(Document)
    # Patterns of the models that its rows may use: those of the key that asked for it. None is any.
    allowed_models: Mapped[list[str] | None] = mapped_column(Document)

    # As it was given, like `24h`.
    completion_window: Mapped[str] = mapped_column(String(32))
    run_window: Mapped[str | None] = mapped_column(String(128))
    priority: Mapped[int] = mapped_column(default=0)
    max_cost: Mapped[float | None] = mapped_column(Double)
    max_failed_ratio: Mapped[float | None] = mapped_column(Double)

    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pause_reason: Mapped[str | None] = mapped_column(String(32))
    pause_message: Mapped[str | None] = mapped_column(Text)

    # What is wrong with its file: code, line, message, param.
    errors: Mapped[list[dict[str, object]] | None] = mapped_column(Document)
    total: Mapped[int] = mapped_column(default=0)
    # What its rows came to that ended up to `tallied_to`; of those that have ended since, the
    # rows themselves are asked.
    tally: Mapped[dict[str, object] | None] = mapped_column(Document)
    tallied_to: Mapped[datetime | None] = mapped_column(UtcDateTime)

    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock())
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    in_progress_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finalizing_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    completed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expired_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelling_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # As a job's.
    webhook_url: Mapped[str | None] = mapped_column(String(2048))
    webhook_due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    webhook_tries: Mapped[int] = mapped_column(default=0)

    # When its time was over: nobody sees it any more, and it is removed, its rows first.
    forgotten_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (
        CheckConstraint(f"status IN ({_STATUSES})", name="status"),
        Index("ix_batches_retry_of", "retry_of"),
        Index("ix_batches_listed", "tenant", "created_at", "id"),
        Index("ix_batches_open", "status", postgresql_where=text(_OPEN), sqlite_where=text(_OPEN)),
        Index(
            "ix_batches_webhook",
            "webhook_due_at",
            postgresql_where=text("webhook_due_at IS NOT NULL"),
            sqlite_where=text("webhook_due_at IS NOT NULL"),
        ),
        Index(
            "ix_batches_kept", "created_at", postgresql_where=text(_KEPT), sqlite_where=text(_KEPT)
        ),
        Index(
            "ix_batches_forgotten",
            "forgotten_at",
            postgresql_where=text("forgotten_at IS NOT NULL"),
            sqlite_where=text("forgotten_at IS NOT NULL"),
        ),
    )
