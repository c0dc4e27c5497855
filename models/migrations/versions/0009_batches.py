"""Batches and their files; the rows of batches among the jobs; what jobs cost."""

import sqlalchemy as sa
from alembic import op

from models.base import Document, Searchable, UtcDateTime

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Name, columns, condition on PostgreSQL, and on SQLite where that is put in another way.
REPLACED = (
    ("ix_jobs_queued", ["wake_at"], "state = 'queued'", None),
    ("ix_jobs_waiting", ["tenant", "lane"], "state = 'queued'", None),
)
REPLACING = (
    (
        "ix_jobs_queued",
        ["wake_at"],
        "state = 'queued' AND NOT held",
        "state = 'queued' AND held = 0",
    ),
    (
        "ix_jobs_waiting",
        ["tenant", "lane", "held", "id"],
        "state = 'queued' AND batch_id IS NULL",
        None,
    ),
)
ADDED = (
    ("ix_jobs_open_rows", ["batch_id", "held", "batch_row"],
     "batch_id IS NOT NULL AND finished_at IS NULL", None),
    ("ix_jobs_ended_rows", ["batch_id", "finished_at", "id"],
     "batch_id IS NOT NULL AND finished_at IS NOT NULL", None),
)  # fmt: skip
OPEN = "status IN ('validating', 'in_progress', 'finalizing', 'cancelling')"
STATUSES = (
    "status IN ('validating', 'failed', 'in_progress', 'finalizing', 'completed', 'expired', "
    "'cancelling', 'cancelled')"
)
COLUMNS = ("batch_row", "generation", "superseded", "held", "cost")


def upgrade() -> None:
    """Create the tables, the columns and the indexes."""
    _create_files()
    _create_batches()
    op.add_column("jobs", sa.Column("batch_row", sa.Integer(), nullable=True))
    op.add_column("jobs", sa.Column("generation", sa.Integer(), nullable=False, server_default="0"))
    for name in ("superseded", "held"):
        op.add_column("jobs", _flag(name))
    op.add_column("jobs", sa.Column("cost", sa.Double(), nullable=True))
    slots = sa.Column("bulk_slots", sa.Integer(), nullable=False, server_default="0")
    op.add_column("processes", slots)
    for name, _, _, _ in REPLACED:
        op.drop_index(name, "jobs")
    for index in (*REPLACING, *ADDED):
        _create_index("jobs", *index)
    _create_index("jobs", "ix_jobs_rows", ["batch_id", "batch_row", "generation"],
                  "batch_id IS NOT NULL", unique=True)  # fmt: skip


def downgrade() -> None:
    """Drop them all: rows of batches are jobs and nothing else."""
    for name, _, _, _ in (*REPLACING, *ADDED):
        op.drop_index(name, "jobs")
    op.drop_index("ix_jobs_rows", "jobs")
    for name in COLUMNS:
        op.drop_column("jobs", name)
    op.drop_column("processes", "bulk_slots")
    for index in REPLACED:
        _create_index("jobs", *index)
    op.drop_table("batches")
    op.drop_table("files")


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false())


def _create_index(
    table: str,
    name: str,
    columns: list[str],
    condition: str,
    on_sqlite: str | None = None,
    *,
    unique: bool = False,
) -> None:
    where, elsewhere = sa.text(condition), sa.text(on_sqlite or condition)
    op.create_index(
        name, table, columns, unique=unique, postgresql_where=where, sqlite_where=elsewhere
    )


def _create_files() -> None:
    op.create_table(
        "files",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("filename", sa.String(length=255), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_files")),
    )
    op.create_index("ix_files_listed", "files", ["tenant", "created_at", "id"])
    op.create_index("ix_files_expires_at", "files", ["expires_at"])


def _create_batches() -> None:
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("endpoint", sa.String(length=64), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("mixed_models", sa.Boolean(), nullable=False),
        sa.Column("metadata", Searchable, nullable=True),
        sa.Column("input_file_id", sa.String(length=64), nullable=False),
        sa.Column("output_file_id", sa.String(length=64), nullable=True),
        sa.Column("error_file_id", sa.String(length=64), nullable=True),
        sa.Column("output_life_s", sa.Integer(), nullable=True),
        sa.Column("retry_of", sa.String(length=64), nullable=True),
        sa.Column("retry_categories", Document, nullable=True),
        sa.Column("completion_window", sa.String(length=32), nullable=False),
        sa.Column("run_window", sa.String(length=128), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("max_cost", sa.Double(), nullable=True),
        sa.Column("max_failed_ratio", sa.Double(), nullable=True),
        sa.Column("paused_at", UtcDateTime, nullable=True),
        sa.Column("paused_until", UtcDateTime, nullable=True),
        sa.Column("pause_reason", sa.String(length=32), nullable=True),
        sa.Column("pause_message", sa.Text(), nullable=True),
        sa.Column("errors", Document, nullable=True),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("tally", Document, nullable=True),
        sa.Column("tallied_to", UtcDateTime, nullable=True),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", UtcDateTime, nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=False),
        sa.Column("in_progress_at", UtcDateTime, nullable=True),
        sa.Column("finalizing_at", UtcDateTime, nullable=True),
        sa.Column("completed_at", UtcDateTime, nullable=True),
        sa.Column("failed_at", UtcDateTime, nullable=True),
        sa.Column("expired_at", UtcDateTime, nullable=True),
        sa.Column("cancelling_at", UtcDateTime, nullable=True),
        sa.Column("cancelled_at", UtcDateTime, nullable=True),
        sa.Column("webhook_url", sa.String(length=2048), nullable=True),
        sa.Column("webhook_due_at", UtcDateTime, nullable=True),
        sa.Column("webhook_tries", sa.Integer(), nullable=False),
        sa.CheckConstraint(STATUSES, name=op.f("ck_batches_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
    )
    op.create_index("ix_batches_retry_of", "batches", ["retry_of"])
    op.create_index("ix_batches_listed", "batches", ["tenant", "created_at", "id"])
    _create_index("batches", "ix_batches_open", ["status"], OPEN)
    _create_index("batches", "ix_batches_webhook", ["webhook_due_at"], "webhook_due_at IS NOT NULL")
