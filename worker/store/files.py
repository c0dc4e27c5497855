"""Files as their owners see them. Their contents lie elsewhere (see `worker.files`)."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, literal, select, tuple_

from models import File, clock
from models.base import UtcDateTime
from worker.errors import FileNotFound
from worker.store.engine import insert_into
from worker.store.settlement import columns_of
from worker.store.side import Side, unbroken
from worker.text import repair


class Files(Side):
    """The table of files. Every method is one short transaction."""

    @unbroken
    async def add(self, file: File) -> File:
        """Keep a file's row; one that is there already is replaced."""
        values = columns_of(file)
        async with self._session() as session:
            statement = insert_into(session, File).values(values)
            statement = statement.on_conflict_do_update(index_elements=[File.id], set_=values)
            return (await session.scalars(statement.returning(File))).one()

    @unbroken
    async def get(self, id: str, tenant: str | None = None) -> File:
        """The file; for a tenant, only if it is the tenant's own.

        Raises:
            FileNotFound: no file has this id, or none that is to be seen.
        """
        async with self._session() as session:
            file = await session.get(File, repair(id))
        if file is None or tenant not in (None, file.tenant):
            raise FileNotFound(f"no file has the id {id[:80]!r}")
        return file

    async def living(self, id: str, tenant: str) -> File:
        """The tenant's own file, if its time is not over.

        Raises:
            FileNotFound: there is none.
        """
        file = await self.get(id, tenant)
        if file.expires_at is not None and file.expires_at <= datetime.now(UTC):
            raise FileNotFound(f"the file {id[:80]!r} has expired")
        return file

    @unbroken
    async def page(
        self, tenant: str, limit: int, *, purpose: str | None, after: File | None, newest: bool
    ) -> Sequence[File]:
        """So many of a tenant's files at most, the newest or the oldest first; none expired."""
        lives = File.expires_at.is_(None) | (File.expires_at > clock())
        query = select(File).where(File.tenant == tenant, lives)
        if purpose is not None:
            query = query.where(File.purpose == repair(purpose))
        if after is not None:
            query = query.where(_beyond(after, newest))
        columns = File.created_at, File.id
        order = [column.desc() if newest else column.asc() for column in columns]
        async with self._session() as session:
            return list(await session.scalars(query.order_by(*order).limit(limit)))

    @unbroken
    async def expired(self, limit: int) -> Sequence[File]:
        """Files whose time is over, the oldest first."""
        query = select(File).where(File.expires_at <= clock()).order_by(File.expires_at)
        async with self._session() as session:
            return list(await session.scalars(query.limit(limit)))

    @unbroken
    async def remove(self, id: str) -> None:
        """Forget the file. Harmless twice."""
        async with self._session() as session:
            await session.execute(delete(File).where(File.id == id))


def _beyond(file: File, newest: bool) -> ColumnElement[bool]:
    own = tuple_(literal(file.created_at, UtcDateTime), literal(file.id))
    place = tuple_(File.created_at, File.id)
    return place < own if newest else place > own
