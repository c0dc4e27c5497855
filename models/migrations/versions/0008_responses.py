"""Responses: what a response repeats of its request."""

import sqlalchemy as sa
from alembic import op

from models.base import Document

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the column."""
    op.add_column("jobs", sa.Column("response_fields", Document, nullable=True))


def downgrade() -> None:
    """Drop it: its responses are jobs and nothing else."""
    op.drop_column("jobs", "response_fields")
