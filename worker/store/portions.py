"""Small portions, safe in several copies: a row that another copy is changing is left to it."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, TypeVarTuple

from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from models import Batch, Job
from worker.store.side import Side

Columns = TypeVarTuple("Columns")
Kind = TypeVar("Kind", Job, Batch)


class Portions(Side):
    """A side that takes its rows in portions."""

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine)
        self._is_postgresql = engine.dialect.name == "postgresql"

    async def _change(
        self,
        kind: type[Kind],
        where: Sequence[ColumnElement[bool]],
        order: InstrumentedAttribute[Any],
        changes: Mapping[str, object],
        limit: int,
    ) -> Sequence[Kind]:
        """The changed rows, so many at most, the first ones in that order."""
        async with self._session() as session:
            return await self._changed(session, kind, where, order, changes, limit)

    async def _changed(
        self,
        session: AsyncSession,
        kind: type[Kind],
        where: Sequence[ColumnElement[bool]],
        order: InstrumentedAttribute[Any],
        changes: Mapping[str, object],
        limit: int,
    ) -> Sequence[Kind]:
        chosen = self._portion(select(kind.id).where(*where), order, limit)
        # A CTE, because PostgreSQL evaluates it once: a subquery it may run again for each row,
        # each time past the rows already locked, and so take more than the limit. The conditions
        # are not repeated outside: the rows are locked, and PostgreSQL, where it knows little of
        # the table yet, would compare every row of which they are true with the whole portion.
        portion = chosen.cte("portion")
        chosen_rows = update(kind).where(kind.id.in_(select(portion.c.id)))
        statement = chosen_rows.values(changes).returning(kind)
        return list(await session.scalars(statement))

    def _portion(
        self, chosen: Select[*Columns], order: InstrumentedAttribute[Any] | None, limit: int
    ) -> Select[*Columns]:
        """So many of the chosen rows, locked; in any order where none is named."""
        portion = chosen.limit(limit) if order is None else chosen.order_by(order).limit(limit)
        return portion.with_for_update(skip_locked=True) if self._is_postgresql else portion
