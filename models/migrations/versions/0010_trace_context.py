"""The trace a job belongs to."""

import sqlalchemy as sa
from alembic import op

from models.base import Document

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: null is a job nobody traces."""
    op.add_column("jobs", sa.Column("trace_context", Document, nullable=True))


def downgrade() -> None:
    """Forget the traces."""
    op.drop_column("jobs", "trace_context")
