"""An audit in the tested database itself: triggers that write down what happens to each job.

Nobody's code has to remember to log: whatever changes a job's state, attempt or wake-ups, from
whichever process, leaves a row.
"""

from typing import NamedTuple

from sqlalchemy import create_engine, text

NAMES = ("job", "old_state", "new_state", "old_attempt", "new_attempt", "old_wakes", "new_wakes")

_SQLITE = """
CREATE TABLE fault_changes (
    number INTEGER PRIMARY KEY, job TEXT NOT NULL, old_state TEXT, new_state TEXT NOT NULL,
    old_attempt INTEGER, new_attempt INTEGER NOT NULL,
    old_wakes INTEGER, new_wakes INTEGER NOT NULL,
    at REAL NOT NULL DEFAULT ((julianday('now') - 2440587.5) * 86400.0));
CREATE TRIGGER fault_inserted AFTER INSERT ON jobs BEGIN
    INSERT INTO fault_changes (job, new_state, new_attempt, new_wakes)
    VALUES (NEW.id, NEW.state, NEW.attempt, NEW.wakes);
END;
CREATE TRIGGER fault_updated AFTER UPDATE ON jobs
WHEN OLD.state <> NEW.state OR OLD.attempt <> NEW.attempt OR OLD.wakes <> NEW.wakes BEGIN
    INSERT INTO fault_changes
        (job, old_state, new_state, old_attempt, new_attempt, old_wakes, new_wakes)
    VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.wakes, NEW.wakes);
END"""

_POSTGRES = """
CREATE TABLE fault_changes (
    number bigserial PRIMARY KEY, job text NOT NULL, old_state text, new_state text NOT NULL,
    old_attempt int, new_attempt int NOT NULL, old_wakes int, new_wakes int NOT NULL,
    at double precision NOT NULL DEFAULT extract(epoch FROM clock_timestamp()));
CREATE FUNCTION fault_note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO fault_changes (job, new_state, new_attempt, new_wakes)
        VALUES (NEW.id, NEW.state, NEW.attempt, NEW.wakes);
    ELSE
        INSERT INTO fault_changes
            (job, old_state, new_state, old_attempt, new_attempt, old_wakes, new_wakes)
        VALUES (NEW.id, OLD.state, NEW.state, OLD.attempt, NEW.attempt, OLD.wakes, NEW.wakes);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER fault_inserted AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION fault_note();
CREATE TRIGGER fault_updated AFTER UPDATE ON jobs FOR EACH ROW
WHEN (OLD.state IS DISTINCT FROM NEW.state OR OLD.attempt IS DISTINCT FROM NEW.attempt
    OR OLD.wakes IS DISTINCT FROM NEW.wakes) EXECUTE FUNCTION fault_note()"""


class Change(NamedTuple):
    """One change of a job's row; the old values are None where it was inserted.

    `at` is the database's clock, in seconds since the epoch.
    """

    job: str
    old_state: str | None
    new_state: str
    old_attempt: int | None
    new_attempt: int
    old_wakes: int | None
    new_wakes: int
    at: float

    @property
    def is_claim(self) -> bool:
        """Whether a worker took hold of the job."""
        return self.old_state == "queued" and self.new_state == "in_progress"

    @property
    def is_rescue(self) -> bool:
        """Whether the sweep took the job back from a holder that let its lease expire."""
        taken = self.old_state == "in_progress" and self.new_state == "queued"
        return taken and self.new_attempt == (self.old_attempt or 0) + 1

    @property
    def is_resent(self) -> bool:
        """Whether the sweep sent a wake-up again, because the first one has woken nobody."""
        return self.old_wakes is not None and 1 <= self.old_wakes < self.new_wakes


def install(database_url: str) -> None:
    """Begin the audit; the schema is there already."""
    is_sqlite = database_url.startswith("sqlite")
    engine = create_engine(database_url)
    with engine.begin() as connection:
        if is_sqlite:
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.executescript(_SQLITE)
        else:
            connection.exec_driver_sql(_POSTGRES)
    engine.dispose()


def changes(database_url: str) -> list[Change]:
    """What was written down, oldest first."""
    engine = create_engine(database_url)
    query = text(f"SELECT {', '.join(NAMES)}, at FROM fault_changes ORDER BY number")
    with engine.connect() as connection:
        found = [Change(*row) for row in connection.execute(query)]
    engine.dispose()
    return found


def let_time_pass(database_url: str, seconds: float) -> None:
    """As if so much time had passed for the wake-ups of queued jobs: the sweep waits a minute
    before it takes one for lost, and a test that waits for it would last as long.
    """
    engine = create_engine(database_url)
    if database_url.startswith("sqlite"):
        earlier = f"strftime('%Y-%m-%d %H:%M:%f', wake_at, '-{seconds:g} seconds')"
    else:
        earlier = f"wake_at - make_interval(secs => {seconds:g})"
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE jobs SET wake_at = {earlier} WHERE state = 'queued'"))
    engine.dispose()
