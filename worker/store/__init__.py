"""The only door to the database: one class for each side from which jobs are seen."""

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.store.engine import connect, require_schema
from worker.store.holds import Holds
from worker.store.jobs import Jobs
from worker.store.sweeping import Due, Sweeping

__all__ = ["Due", "Holds", "Jobs", "Store", "Sweeping", "connect", "require_schema"]


class Store:
    """The three sides of the store over one engine. `owner` names this process in leases."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        self.engine = engine
        self.jobs = Jobs(engine)
        self.holds = Holds(engine, owner)
        self.sweeping = Sweeping(engine)

    async def aclose(self) -> None:
        """Close all connections."""
        await self.engine.dispose()
