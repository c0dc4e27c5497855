"""Beat's own look at the fleet, for its metrics."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from worker import metrics, settings
from worker.errors import DeltaworksError
from worker.loop import ProcessLoop
from worker.runtime import open_client_runtime, survey

logger = logging.getLogger(__name__)

# How soon it is tried again where the database was away from the start.
AGAIN_S = 15.0


@contextmanager
def surveying_process() -> Iterator[None]:
    """Serve the fleet's metrics while the block lasts; nothing where no port is set.

    Raises:
        ConfigurationError: it cannot be listened there.
    """
    chosen = settings.load()
    if chosen.metrics_port is None:
        yield
        return
    with metrics.serving(chosen):
        loop = ProcessLoop()
        surveying = asyncio.run_coroutine_threadsafe(_survey(), loop.loop)
        try:
            yield
        finally:
            surveying.cancel()
            loop.stop()


async def _survey() -> None:
    """To tick takes no database: what fails here is tried again, and said."""
    while True:
        try:
            async with open_client_runtime() as client:
                await survey(client)
        except DeltaworksError as error:
            logger.warning("no survey yet: %s", error)
        await asyncio.sleep(AGAIN_S)
