"""Jobs and attempts."""

import sqlalchemy as sa
from alembic import op

from models.base import Document, Searchable, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Each serves one query of the sweep.
INDEXES = (
    ("ix_jobs_queued", "wake_at", "queued"),
    ("ix_jobs_deadline", "deadline_at", "queued"),
    ("ix_jobs_leased", "lease_until", "in_progress"),
)


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column("request_hash", sa.String(length=64), nullable=False),
        sa.Column("request", Document, nullable=False),
        sa.Column("model", sa.String(length=255), nullable=False),
        sa.Column("lane", sa.String(length=16), nullable=False),
        sa.Column("metadata", Searchable, nullable=True),
        sa.Column("batch_id", sa.String(length=64), nullable=True),
        sa.Column("custom_id", sa.String(length=255), nullable=True),
        sa.Column("retry_of", sa.String(length=64), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("throttles", sa.Integer(), nullable=False),
        sa.Column("crashes", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", UtcDateTime, nullable=True),
        sa.Column("scheduled_at", UtcDateTime, nullable=True),
        sa.Column("deadline_at", UtcDateTime, nullable=False),
        sa.Column("wake_at", UtcDateTime, nullable=False),
        sa.Column("wakes", sa.Integer(), nullable=False),
        sa.Column("upstream", sa.String(length=64), nullable=True),
        sa.Column("upstream_request_id", sa.String(length=255), nullable=True),
        sa.Column("output_text", sa.Text(), nullable=True),
        sa.Column("output", Document, nullable=True),
        sa.Column("parts", Document, nullable=True),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.String(length=255), nullable=True),
        sa.Column("unverified", sa.Boolean(), nullable=False),
        sa.Column("usage", Document, nullable=True),
        sa.Column("error_category", sa.String(length=32), nullable=True),
        sa.Column("error_code", sa.String(length=255), nullable=True),
        sa.Column("error_status", sa.Integer(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("started_at", UtcDateTime, nullable=True),
        sa.Column("first_delta_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=True),
        sa.CheckConstraint("lane IN ('interactive', 'bulk')", name=op.f("ck_jobs_lane")),
        sa.CheckConstraint(
            "state IN ('queued', 'in_progress', 'completed', 'incomplete', 'failed', 'cancelled')",
            name=op.f("ck_jobs_state"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sa.UniqueConstraint(
            "tenant", "idempotency_key", name=op.f("uq_jobs_tenant_idempotency_key")
        ),
    )
    for name, column, state in INDEXES:
        partial = sa.text(f"state = '{state}'")
        op.create_index(name, "jobs", [column], postgresql_where=partial, sqlite_where=partial)
    op.create_table(
        "attempts",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("upstream", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=255), nullable=True),
        sa.Column("upstream_request_id", sa.String(length=255), nullable=True),
        sa.Column("started_at", UtcDateTime, nullable=False),
        sa.Column("first_delta_at", UtcDateTime, nullable=True),
        sa.Column("finished_at", UtcDateTime, nullable=False),
        sa.Column("parts", Document, nullable=True),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("finish_reason", sa.String(length=255), nullable=True),
        sa.Column("usage", Document, nullable=True),
        sa.Column("error_category", sa.String(length=32), nullable=True),
        sa.Column("error_code", sa.String(length=255), nullable=True),
        sa.Column("error_status", sa.Integer(), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_attempts_job_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_attempts")),
    )


def downgrade() -> None:
    """Drop both tables and all jobs in them."""
    op.drop_table("attempts")
    op.drop_table("jobs")
