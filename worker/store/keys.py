"""API keys as they are made, looked up and revoked."""

from collections.abc import Sequence

from sqlalchemy import func, or_, select, update

from models import ApiKey, clock
from worker.store.side import Side, once, unbroken


class Keys(Side):
    """The table of API keys. Every method is one short transaction."""

    @once
    async def add(self, key: ApiKey) -> None:
        """Keep a new key."""
        async with self._transaction() as session, session.begin():
            session.add(key)

    @unbroken
    async def standing(self, digest: str) -> ApiKey | None:
        """The key with this digest, unless it is revoked or has expired."""
        query = select(ApiKey).where(
            ApiKey.digest == digest,
            ApiKey.revoked_at.is_(None),
            or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > clock()),
        )
        async with self._session() as session:
            return (await session.scalars(query)).one_or_none()

    @unbroken
    async def all(self) -> Sequence[ApiKey]:
        """Every key, revoked and expired ones as well, oldest first."""
        async with self._session() as session:
            return list(await session.scalars(select(ApiKey).order_by(ApiKey.created_at)))

    @unbroken
    async def revoke(self, id: str) -> bool:
        """Revoke the key; whether there is one with this id. Harmless twice."""
        since = func.coalesce(ApiKey.revoked_at, clock())
        statement = update(ApiKey).where(ApiKey.id == id).values(revoked_at=since)
        async with self._session() as session:
            revoked = await session.scalars(statement.returning(ApiKey.id))
            return revoked.one_or_none() is not None
