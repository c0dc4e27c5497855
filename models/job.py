"""A job: one completion request and its whole life."""

from datetime import datetime

from sqlalchemy import CheckConstraint, Double, Index, String, Text, UniqueConstraint, false, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, Document, Searchable, UtcDateTime, clock
from models.states import JobState, Lane

_STATES = ", ".join(f"'{state.value}'" for state in JobState)
_LANES = ", ".join(f"'{lane.value}'" for lane in Lane)
_OPEN_ROW = "batch_id IS NOT NULL AND finished_at IS NULL"
_PARKED_ROW = f"{_OPEN_ROW} AND started_at IS NOT NULL"
_ENDED_ROW = "batch_id IS NOT NULL AND finished_at IS NOT NULL"
_ENDED_WITH_WEBHOOK = "webhook_due_at IS NOT NULL AND finished_at IS NOT NULL"
_KEPT = "finished_at IS NOT NULL AND batch_id IS NULL AND webhook_due_at IS NULL"


class Job(Base):
    """One completion request and its whole life.

    `attempt` is the fence: each change that the holder of the current attempt does not make
    raises it, nothing lowers it, and holes are legal. A terminal state is for ever. Both are the
    database's own rule as well (a trigger). The budgets are columns of their own: `failures`,
    `throttles`, `crashes`.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), default="default")
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    # SHA-256 of the canonical request: the same key with another request is a conflict.
    request_hash: Mapped[str] = mapped_column(String(64))

    request: Mapped[dict[str, object]] = mapped_column(Document)
    model: Mapped[str] = mapped_column(String(255))
    lane: Mapped[str] = mapped_column(String(16))
    # `metadata` is taken by SQLAlchemy on the class, not in the table.
    labels: Mapped[dict[str, str] | None] = mapped_column("metadata", Searchable)
    batch_id: Mapped[str | None] = mapped_column(String(64))
    custom_id: Mapped[str | None] = mapped_column(String(255))
    # Which line of the batch's file it is, from 0 on, and for which time that is tried: of a
    # row's jobs the one of the highest generation counts, those before it are superseded.
    batch_row: Mapped[int | None]
    generation: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    superseded: Mapped[bool] = mapped_column(default=False, server_default=false())
    # Whether it has yet to be released, for the first time or once more: until then nobody is woken
    # for it. So wait the rows of batches, and other bulk jobs.
    held: Mapped[bool] = mapped_column(default=False, server_default=false())
    retry_of: Mapped[str | None] = mapped_column(String(64))
    # What a response repeats of its request (the Responses API); null where the job is none.
    response_fields: Mapped[dict[str, object] | None] = mapped_column(Document)
    # Its submit, as W3C Trace Context's headers name it: all its attempts, whoever makes them, are
    # parts of that trace. Wake-ups carry ids only, and may be lost, so it is kept here.
    trace_context: Mapped[dict[str, str] | None] = mapped_column(Document)

    state: Mapped[str] = mapped_column(String(16), default=JobState.QUEUED.value)
    attempt: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(default=0)
    throttles: Mapped[int] = mapped_column(default=0)
    crashes: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(64))
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    scheduled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    deadline_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When the next wake-up is due, should this job still be queued then; and how many were sent.
    wake_at: Mapped[datetime] = mapped_column(UtcDateTime)
    wakes: Mapped[int] = mapped_column(default=0)

    upstream: Mapped[str | None] = mapped_column(String(64))
    upstream_request_id: Mapped[str | None] = mapped_column(String(255))
    output_text: Mapped[str | None] = mapped_column(Text)
    # One message for each choice: content, reasoning, refusal, tool calls, finish reason; of rows
    # of batches also what came beside the text, as JSON (`beside`).
    output: Mapped[list[dict[str, object]] | None] = mapped_column(Document)
    # The runs (choice, part, length) in the order published, where there was more than one part.
    parts: Mapped[list[tuple[int, str, int]] | None] = mapped_column(Document)
    # Characters of all parts; the closing event's offset is one more.
    length: Mapped[int] = mapped_column(default=0)
    finish_reason: Mapped[str | None] = mapped_column(String(255))
    unverified: Mapped[bool] = mapped_column(default=False)
    usage: Mapped[dict[str, object] | None] = mapped_column(Document)
    # What all its requests to upstreams have cost, as far as prices are configured.
    cost: Mapped[float | None] = mapped_column(Double)

    error_category: Mapped[str | None] = mapped_column(String(32))
    error_code: Mapped[str | None] = mapped_column(String(255))
    error_status: Mapped[int | None]
    error_message: Mapped[str | None] = mapped_column(Text)

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock())
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    first_delta_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When request and output were removed at their owner's wish; the rest of the row stays.
    erased_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # Who is told of the end. It is due from the start, and counts once the job has ended; None
    # when it was delivered, or given up.
    webhook_url: Mapped[str | None] = mapped_column(String(2048))
    webhook_due_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    webhook_tries: Mapped[int] = mapped_column(default=0, server_default=text("0"))

    @property
    def untouched(self) -> bool:
        """Whether it was never released: nobody has heard of it."""
        return self.held and self.started_at is None

    __table_args__ = (
        UniqueConstraint("tenant", "idempotency_key"),
        CheckConstraint(f"state IN ({_STATES})", name="state"),
        CheckConstraint(f"lane IN ({_LANES})", name="lane"),
        Index(
            "ix_jobs_queued",
            "wake_at",
            postgresql_where=text("state = 'queued' AND NOT held"),
            sqlite_where=text("state = 'queued' AND held = 0"),
        ),
        Index(
            "ix_jobs_deadline",
            "deadline_at",
            postgresql_where=text("state = 'queued'"),
            sqlite_where=text("state = 'queued'"),
        ),
        Index(
            "ix_jobs_leased",
            "lease_until",
            postgresql_where=text("state = 'in_progress'"),
            sqlite_where=text("state = 'in_progress'"),
        ),
        Index(
            "ix_jobs_suspects",
            "finished_at",
            postgresql_where=text("crashes >= 2"),
            sqlite_where=text("crashes >= 2"),
        ),
        Index("ix_jobs_listed", "tenant", "created_at", "id"),
        Index(
            "ix_jobs_waiting",
            "tenant",
            "lane",
            "held",
            "id",
            postgresql_where=text("state = 'queued' AND batch_id IS NULL"),
            sqlite_where=text("state = 'queued' AND batch_id IS NULL"),
        ),
        Index(
            "ix_jobs_owner",
            "lease_owner",
            postgresql_where=text("state = 'in_progress'"),
            sqlite_where=text("state = 'in_progress'"),
        ),
        Index(
            "ix_jobs_rows",
            "batch_id",
            "batch_row",
            "generation",
            unique=True,
            postgresql_where=text("batch_id IS NOT NULL"),
            sqlite_where=text("batch_id IS NOT NULL"),
        ),
        # `finished_at` is set with the terminal state, in the same statement.
        Index(
            "ix_jobs_open_rows",
            "batch_id",
            "held",
            "batch_row",
            postgresql_where=text(_OPEN_ROW),
            sqlite_where=text(_OPEN_ROW),
        ),
        # Held once more after they had begun: few, among all that are held. With all that is asked
        # of them, else SQLite prefers the index of all.
        Index(
            "ix_jobs_parked",
            "batch_id",
            "held",
            "scheduled_at",
            "cost",
            postgresql_where=text(f"{_PARKED_ROW} AND held"),
            sqlite_where=text(f"{_PARKED_ROW} AND held = 1"),
        ),
        Index(
            "ix_jobs_ended_rows",
            "batch_id",
            "finished_at",
            "id",
            postgresql_where=text(_ENDED_ROW),
            sqlite_where=text(_ENDED_ROW),
        ),
        Index(
            "ix_jobs_webhook",
            "lane",
            "webhook_due_at",
            postgresql_where=text(_ENDED_WITH_WEBHOOK),
            sqlite_where=text(_ENDED_WITH_WEBHOOK),
        ),
        Index(
            "ix_jobs_kept", "finished_at", postgresql_where=text(_KEPT), sqlite_where=text(_KEPT)
        ),
    )
