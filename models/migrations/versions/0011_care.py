"""Care: what is to be removed is found, batches are forgotten, and processes told to end."""

import sqlalchemy as sa
from alembic import op

from models.base import UtcDateTime

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# Name, table, column, condition.
INDEXES = (
    ("ix_jobs_kept", "jobs", "finished_at",
     "finished_at IS NOT NULL AND batch_id IS NULL AND webhook_due_at IS NULL"),
    ("ix_batches_kept", "batches", "created_at",
     "webhook_due_at IS NULL AND forgotten_at IS NULL"),
    ("ix_batches_forgotten", "batches", "forgotten_at", "forgotten_at IS NOT NULL"),
)  # fmt: skip


def upgrade() -> None:
    """Create the columns and the indexes."""
    op.add_column("batches", sa.Column("forgotten_at", UtcDateTime, nullable=True))
    op.add_column("processes", sa.Column("drain_at", UtcDateTime, nullable=True))
    for name, table, column, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(name, table, [column], postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Drop them: batches that were being removed are there again, with the rows that are left."""
    for name, table, _, _ in INDEXES:
        op.drop_index(name, table)
    op.drop_column("processes", "drain_at")
    op.drop_column("batches", "forgotten_at")
