"""Webhooks: whom a job's end is to be told to, when next, and how often it was tried."""

import sqlalchemy as sa
from alembic import op

from models.base import UtcDateTime

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

COLUMNS = ("webhook_url", "webhook_due_at", "webhook_tries")


def upgrade() -> None:
    """Create the columns and the index; the table is not rebuilt, so its trigger stays."""
    op.add_column("jobs", sa.Column("webhook_url", sa.String(length=2048), nullable=True))
    op.add_column("jobs", sa.Column("webhook_due_at", UtcDateTime, nullable=True))
    tries = sa.Column("webhook_tries", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("jobs", tries)
    ended = sa.text("webhook_due_at IS NOT NULL AND finished_at IS NOT NULL")
    columns = ["lane", "webhook_due_at"]
    op.create_index("ix_jobs_webhook", "jobs", columns, postgresql_where=ended, sqlite_where=ended)


def downgrade() -> None:
    """Drop them all; what was not delivered yet is not told."""
    op.drop_index("ix_jobs_webhook", "jobs")
    for name in COLUMNS:
        op.drop_column("jobs", name)
