"""Figures of a batch from its rows."""

from models import Batch
from worker.batch.report.figures import Figures
from worker.store import Store


async def gather(store: Store, batch: Batch) -> Figures:
    """All that a report says of the batch, as it is now."""
    raise NotImplementedError
