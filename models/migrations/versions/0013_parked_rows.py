"""Parked rows: those of a batch that have begun, and are held until their next attempt."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

BEGUN = "batch_id IS NOT NULL AND finished_at IS NULL AND started_at IS NOT NULL"


def upgrade() -> None:
    """Create the index."""
    op.create_index(
        "ix_jobs_parked",
        "jobs",
        ["batch_id", "held", "scheduled_at", "cost"],
        postgresql_where=sa.text(f"{BEGUN} AND held"),
        sqlite_where=sa.text(f"{BEGUN} AND held = 1"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_jobs_parked", "jobs")
