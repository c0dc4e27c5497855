"""The only door to the database: one class for each side from which it is seen."""

import asyncio

from sqlalchemy.ext.asyncio import AsyncEngine

from worker.store.backup import back_up
from worker.store.batches import Batches, Recent
from worker.store.census import Census, Counts, Waiting
from worker.store.condition import Condition, condition_of
from worker.store.dispatching import Claimant, Dispatching, Released, Wanted
from worker.store.engine import asynchronous_url, connect, fingerprint, require_schema
from worker.store.failures import complaint
from worker.store.files import Files
from worker.store.holds import Holds
from worker.store.intake import Intake, Results, Row
from worker.store.jobs import Jobs, Listing
from worker.store.keys import Keys
from worker.store.processes import Present, Processes
from worker.store.reporting import Reporting
from worker.store.retention import Retention
from worker.store.settlement import Settlement
from worker.store.side import Side
from worker.store.suspensions import Suspensions
from worker.store.sweeping import Due, Sweeping
from worker.store.tally import Tally
from worker.store.tending import EXPIRED, Tending
from worker.store.webhooks import Told, Webhooks

__all__ = [
    "EXPIRED",
    "Batches",
    "Census",
    "Claimant",
    "Condition",
    "Counts",
    "Dispatching",
    "Due",
    "Files",
    "Holds",
    "Intake",
    "Jobs",
    "Keys",
    "Listing",
    "Present",
    "Processes",
    "Recent",
    "Released",
    "Results",
    "Retention",
    "Row",
    "Settlement",
    "Store",
    "Suspensions",
    "Sweeping",
    "Tally",
    "Tending",
    "Told",
    "Waiting",
    "Wanted",
    "Webhooks",
    "asynchronous_url",
    "back_up",
    "complaint",
    "condition_of",
    "connect",
    "fingerprint",
    "require_schema",
]


class Store:
    """The sides of the store over one engine. `owner` names this process in leases."""

    def __init__(self, engine: AsyncEngine, owner: str) -> None:
        self.engine = engine
        self.jobs = Jobs(engine)
        self.holds = Holds(engine, owner)
        self.sweeping = Sweeping(engine)
        self.processes = Processes(engine)
        self.suspensions = Suspensions(engine)
        self.keys = Keys(engine)
        self.files = Files(engine)
        self.batches = Batches(engine)
        self.intake = Intake(engine, owner)
        self.dispatching = Dispatching(engine)
        self.tending = Tending(engine)
        self.webhooks = Webhooks(engine)
        self.reporting = Reporting(engine)
        self.retention = Retention(engine)
        self.census = Census(engine)

    async def aclose(self) -> None:
        """Close all connections, once the last statements are through."""
        sides = [side for side in vars(self).values() if isinstance(side, Side)]
        await asyncio.gather(*(side.aclose() for side in sides))
        await self.engine.dispose()
