"""Ends of many jobs in one transaction: two statements, however many jobs.

The rows travel as one JSON document, which both databases can read as a table.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Column, Dialect, Table, text
from sqlalchemy.ext.asyncio import AsyncSession

from models import Attempt, Base, Job, JobState
from models.base import UtcDateTime
from worker.store.settlement import ENDING, Settlement

RECORD = tuple(column.key for column in Attempt.__table__.columns)
# How PostgreSQL reads a member of the document; what is not named is text.
_TYPES = {"JSON": "json", "INTEGER": "integer", "BOOLEAN": "boolean", "DATETIME": "timestamptz"}


class Endings:
    """The statements, in the words of one database."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._end = text(_end(dialect))
        self._record = text(_record(dialect))

    async def write(self, session: AsyncSession, ends: Sequence[Settlement]) -> Sequence[bool]:
        """End the jobs, within a transaction; of each whether it was still held."""
        rows = self._document(map(_row, ends))
        held = set((await session.scalars(self._end, {"rows": rows})).all())
        records = [end.record for end in ends if end.record is not None and end.id in held]
        if records:
            full = ({**dict.fromkeys(RECORD), "length": 0, **record} for record in records)
            await session.execute(self._record, {"rows": self._document(full)})
        return [end.id in held for end in ends]

    def _document(self, rows: Iterable[Mapping[str, object]]) -> str:
        return msgspec.json.encode([self._bound(row) for row in rows]).decode()

    def _bound(self, row: Mapping[str, object]) -> dict[str, object]:
        """The row with its moments as the database writes them."""
        return {
            name: self._moment(value) if isinstance(value, datetime) else value
            for name, value in row.items()
        }

    def _moment(self, value: datetime) -> object:
        bound = UtcDateTime().process_bind_param(value, self._dialect)
        return bound.isoformat() if isinstance(bound, datetime) else bound


def _row(end: Settlement) -> dict[str, object]:
    return {**end.columns, "id": end.id, "attempt": end.attempt, "spent": end.spent}


def _end(dialect: Dialect) -> str:
    columns = _columns(Job, ENDING)
    now = "statement_timestamp()" if _is_postgresql(dialect) else _NOW
    changes = ", ".join(f"{column.name} = v.{column.name}" for column in columns)
    spent = "CASE WHEN v.spent IS NULL THEN jobs.cost ELSE coalesce(jobs.cost, 0.0) + v.spent END"
    known = _columns(Job, ("id", "attempt"))
    rows = _rows([*known, *columns], dialect, spent="double precision")
    held = f"jobs.attempt = v.attempt AND jobs.state = '{JobState.IN_PROGRESS.value}'"
    locked = ""
    if _is_postgresql(dialect):
        # In one order, as every statement that locks many jobs: else two of them may each wait
        # for the other.
        ids = "SELECT id FROM jobs WHERE id IN (SELECT id FROM v) ORDER BY id FOR UPDATE"
        locked = f", locked AS MATERIALIZED ({ids})"
    source = "v, locked WHERE jobs.id = locked.id AND" if locked else "v WHERE"
    return (
        f"WITH v AS ({rows}){locked} "  # noqa: S608  names of our own columns
        f"UPDATE jobs SET {changes}, cost = {spent}, lease_owner = NULL, lease_until = NULL, "
        f"finished_at = {now} "
        f"FROM {source} jobs.id = v.id AND {held} "
        f"RETURNING jobs.id"
    )


def _record(dialect: Dialect) -> str:
    columns = _columns(Attempt, RECORD)
    names = ", ".join(column.name for column in columns)
    return f"INSERT INTO attempts ({names}) {_rows(columns, dialect)}"


def _columns(kind: type[Base], names: Sequence[str]) -> list[Column[Any]]:
    table = kind.__table__
    assert isinstance(table, Table)
    return [table.columns[name] for name in names]


# SQLite's form of `models.base.clock`; its colons are no parameters.
_NOW = "strftime('%Y-%m-%d %H\\:%M\\:%f', 'now')"


def _rows(columns: Sequence[Column[Any]], dialect: Dialect, **more: str) -> str:
    """The document as a table, whose columns have the names and types of these."""
    if _is_postgresql(dialect):
        typed = [f"{column.name} {_type(column)}" for column in columns]
        typed += [f"{name} {kind}" for name, kind in more.items()]
        names = ", ".join([*(column.name for column in columns), *more])
        source = f"json_to_recordset(cast(:rows AS json)) AS r({', '.join(typed)})"
        return f"SELECT {names} FROM {source}"  # noqa: S608  as above
    names_ = [*(column.name for column in columns), *more]
    values = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in names_)
    return f"SELECT {values} FROM json_each(:rows)"  # noqa: S608  as above


def _type(column: Column[Any]) -> str:
    kind = column.type.impl if isinstance(column.type, UtcDateTime) else column.type
    return _TYPES.get(getattr(kind, "__visit_name__", "").upper(), "text")


def _is_postgresql(dialect: Dialect) -> bool:
    return dialect.name == "postgresql"
