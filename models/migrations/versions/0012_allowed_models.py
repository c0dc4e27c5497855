"""Allowed models: what a key may use holds for the rows of its batches as well."""

import sqlalchemy as sa
from alembic import op

from models.base import Document

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column: null is any model."""
    op.add_column("batches", sa.Column("allowed_models", Document, nullable=True))


def downgrade() -> None:
    """Forget them: batches that have yet to be read in may use any model."""
    op.drop_column("batches", "allowed_models")
