"""Runs migrations on the connection that `models.schema.upgrade` hands over."""

from alembic import context
from sqlalchemy import text

from models import Base

# Any number that only this project's migrations use: two upgrades at once take turns.
ADVISORY_LOCK = 7_031_994

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
)
with context.begin_transaction():
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
    context.run_migrations()
