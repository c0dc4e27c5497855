"""Deaths of worker processes, and the jobs of a process by index."""

import sqlalchemy as sa
from alembic import op

from models.base import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table and the index."""
    op.create_table(
        "deaths",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
        sa.Column("suspect", sa.String(length=64), nullable=True),
        sa.Column("only", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_deaths")),
    )
    op.create_index("ix_deaths_at", "deaths", ["at"])
    held = sa.text("state = 'in_progress'")
    op.create_index(
        "ix_jobs_owner", "jobs", ["lease_owner"], postgresql_where=held, sqlite_where=held
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_jobs_owner", "jobs")
    op.drop_table("deaths")
