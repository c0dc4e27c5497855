"""Worker processes, so that the death of one without jobs is noticed too."""

import sqlalchemy as sa
from alembic import op

from models.base import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, and an index of jobs that were suspects."""
    op.create_table(
        "processes",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("lease_until", UtcDateTime, nullable=False),
        sa.PrimaryKeyConstraint("owner", name=op.f("pk_processes")),
    )
    op.create_index("ix_processes_lease_until", "processes", ["lease_until"])
    suspects = sa.text("crashes >= 2")
    op.create_index(
        "ix_jobs_suspects",
        "jobs",
        ["finished_at"],
        postgresql_where=suspects,
        sqlite_where=suspects,
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_index("ix_jobs_suspects", "jobs")
    op.drop_table("processes")
