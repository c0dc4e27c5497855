"""What the gateway needs: API keys, pages of jobs by age, erased jobs."""

import sqlalchemy as sa
from alembic import op

from models.base import Document, UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_jobs_listed", ["tenant", "created_at", "id"], None),
    ("ix_jobs_waiting", ["tenant", "lane"], "state = 'queued'"),
)


def upgrade() -> None:
    """Create the table, the column and the indexes."""
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("tenant", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("last4", sa.String(length=4), nullable=False),
        sa.Column("scopes", Document, nullable=False),
        sa.Column("models", Document, nullable=True),
        sa.Column("requests_per_minute", sa.Integer(), nullable=True),
        sa.Column("created_at", UtcDateTime, nullable=False),
        sa.Column("expires_at", UtcDateTime, nullable=True),
        sa.Column("revoked_at", UtcDateTime, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.add_column("jobs", sa.Column("erased_at", UtcDateTime, nullable=True))
    for name, columns, condition in INDEXES:
        where = None if condition is None else sa.text(condition)
        op.create_index(name, "jobs", columns, postgresql_where=where, sqlite_where=where)


def downgrade() -> None:
    """Drop them all."""
    for name, _, _ in INDEXES:
        op.drop_index(name, "jobs")
    op.drop_column("jobs", "erased_at")
    op.drop_table("api_keys")
