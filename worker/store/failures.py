"""What a failure of the database means: ask again at once, wait for it, or mend our own fault."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker import metrics
from worker.errors import StoreAway


class Failure(Enum):
    """What can be done about it.

    REFUSED: nothing was carried out, and the same may succeed, at once or when the database is
        back.
    UNSURE: the connection broke, or the disk failed: whether it was carried out is not known.
    FAULT: the same will fail again: a fault of ours, or of the schema.
    """

    REFUSED = "refused"
    UNSURE = "unsure"
    FAULT = "fault"


# read_only_sql_transaction: this server was the primary, or is not yet.
READ_ONLY = "25006"
# SQLSTATEs of PostgreSQL that pass (its manual, appendix A), whole or by how they begin.
PASSING = (
    "08",  # connection exceptions
    READ_ONLY,
    "25P03",  # idle_in_transaction_session_timeout
    "40001",  # serialization_failure
    "40P01",  # deadlock_detected
    "53",  # insufficient resources: disk full, out of memory, too many connections
    "55P03",  # lock_not_available
    "57014",  # query_canceled: by a statement_timeout
    "57P",  # operator intervention: shutdown, crash, cannot connect now
    "58",  # system errors: input and output among them
)
# Primary result codes of SQLite that pass. For a lock it has waited as long as it was told to.
SQLITE_REFUSED = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PROTOCOL,
})  # fmt: skip
SQLITE_UNSURE = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL})
# The low byte of an extended result code is the primary one.
PRIMARY = 0xFF


def meaning(error: Exception) -> Failure:
    """What the error, of SQLAlchemy or of anything else, means."""
    if isinstance(error, PoolTimeout):
        return Failure.REFUSED
    if not isinstance(error, DBAPIError):
        return Failure.FAULT
    if isinstance(error.orig, sqlite3.Error):
        return _of_sqlite(error.orig)
    if error.connection_invalidated:
        return Failure.REFUSED if sqlstate(error) == READ_ONLY else Failure.UNSURE
    # Without a code the server said nothing: there was no connection.
    unsaid = not sqlstate(error) and isinstance(error, OperationalError | InterfaceError)
    return Failure.REFUSED if unsaid or sqlstate(error).startswith(PASSING) else Failure.FAULT


def _of_sqlite(error: sqlite3.Error) -> Failure:
    primary = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY
    if primary in SQLITE_UNSURE:
        return Failure.UNSURE
    return Failure.REFUSED if primary in SQLITE_REFUSED else Failure.FAULT


def sqlstate(error: DBAPIError) -> str:
    """PostgreSQL's code for the error; empty where it sent none."""
    return str(getattr(error.orig, "sqlstate", None) or "")


def complaint(error: Exception) -> str | None:
    """What the database, or the way to it, complains of in one line; None for another error.

    Never a statement or its parameters, which hold prompts.
    """
    if not isinstance(error, SQLAlchemyError):
        return None
    cause = error.orig if isinstance(error, DBAPIError) else error
    lines = str(cause).splitlines()
    return lines[0] if lines else type(cause).__name__


@contextmanager
def translated() -> Iterator[None]:
    """A block whose failures that pass are `StoreAway`.

    Raises:
        StoreAway: the failure is none of our own; its cause is the driver's error.
    """
    try:
        yield
    except SQLAlchemyError as error:
        failure = meaning(error)
        metrics.count(metrics.names.DATABASE_ERRORS, failure.value)
        if failure is Failure.FAULT:
            raise
        raise StoreAway(
            f"the database cannot be used: {complaint(error)}; "
            "see to it that it runs, and that DELTAWORKS_DATABASE_URL is its URL",
            unsure=failure is Failure.UNSURE,
        ) from error
