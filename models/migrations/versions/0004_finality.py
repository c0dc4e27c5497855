"""Finality: the database itself refuses to leave a terminal state or to lower an attempt.

On SQLite a later migration that rebuilds the table has to create the trigger again.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# What may never happen. Anything else about an ended job may change: its content can be erased.
REFUSED = """
    (OLD.state IN ('completed', 'incomplete', 'failed', 'cancelled') AND NEW.state <> OLD.state)
    OR NEW.attempt < OLD.attempt
"""
SAID = "a job cannot leave a terminal state, nor can its attempt be lowered"

# An update that names neither column, or is legal, calls no function.
POSTGRESQL = (
    f"""
    CREATE FUNCTION refuse_job_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '{SAID} (job %)', OLD.id USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    f"""
    CREATE TRIGGER jobs_finality BEFORE UPDATE OF state, attempt ON jobs
    FOR EACH ROW WHEN ({REFUSED}) EXECUTE FUNCTION refuse_job_change()
    """,
)
SQLITE = (
    f"""
    CREATE TRIGGER jobs_finality BEFORE UPDATE OF state, attempt ON jobs
    FOR EACH ROW WHEN {REFUSED} BEGIN SELECT RAISE(ABORT, '{SAID}'); END
    """,
)


def upgrade() -> None:
    """Create the trigger."""
    for statement in POSTGRESQL if _is_postgresql() else SQLITE:
        op.execute(statement)


def downgrade() -> None:
    """Drop it: only the statements' own conditions guard the jobs again."""
    if _is_postgresql():
        op.execute("DROP TRIGGER jobs_finality ON jobs")
        op.execute("DROP FUNCTION refuse_job_change()")
    else:
        op.execute("DROP TRIGGER jobs_finality")


def _is_postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
