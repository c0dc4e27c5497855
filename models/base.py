"""The declarative base, the column types that both databases share, and the database's clock."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, MetaData, String
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction
from sqlalchemy.types import TypeDecorator, TypeEngine

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The root of all rows; constraint names are the same on every database."""

    metadata = MetaData(naming_convention=NAMING)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC, aware in Python on every database.

    PostgreSQL keeps it as `timestamptz`; SQLite as text `YYYY-MM-DD HH:MM:SS.mmm`, the form of
    its own `strftime('%f')`, so that stored moments compare with the database's clock.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(23))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> object:
        if value is None:
            return None
        moment = value.astimezone(UTC)
        if dialect.name == "sqlite":
            return moment.replace(tzinfo=None).isoformat(" ", "milliseconds")
        return moment

    def process_result_value(self, value: object, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        assert isinstance(moment, datetime)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


# Text that keeps the sender's key order, and JSON that can be searched.
Document = JSON(none_as_null=True)
Searchable = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


class clock(GenericFunction[datetime]):
    """The database's own time, plus seconds: `clock()`, `clock(30.0)`.

    In PostgreSQL the start of the statement: `now()` is that of the transaction, and by
    `clock_timestamp()`, which changes from row to row, no index can be searched. In SQLite
    milliseconds; `CURRENT_TIMESTAMP` has seconds.
    """

    type = UtcDateTime()
    inherit_cache = True


@compiles(clock, "postgresql")
def _clock_postgresql(element: clock, compiler: SQLCompiler, **kw: object) -> str:
    arguments = list(element.clauses)
    if not arguments:
        return "statement_timestamp()"
    seconds = compiler.process(arguments[0], **kw)
    return f"(statement_timestamp() + make_interval(secs => {seconds}))"


@compiles(clock, "sqlite")
def _clock_sqlite(element: clock, compiler: SQLCompiler, **kw: object) -> str:
    arguments = list(element.clauses)
    if not arguments:
        return "strftime('%Y-%m-%d %H:%M:%f', 'now')"
    seconds = compiler.process(arguments[0], **kw)
    return f"strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%+.3f seconds', {seconds}))"
