"""The metrics of one process on a port of their own, for Prometheus to scrape."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from worker import transitions
from worker.errors import ConfigurationError
from worker.metrics.registry import REGISTRY
from worker.metrics.transitions import counted
from worker.settings import Settings

logger = logging.getLogger(__name__)


@contextmanager
def serving(settings: Settings) -> Iterator[None]:
    """Serve them, if that is configured, until the block is left.

    Never on the API's port, and on loopback where nothing else is said: whoever reaches them
    sees how much is done and spent.

    Raises:
        ConfigurationError: it cannot be listened there.
    """
    if settings.metrics_port is None:
        yield
        return
    host, port = settings.metrics_host, settings.metrics_port
    try:
        server, thread = start_http_server(port, host, REGISTRY)
    except OSError as error:
        number = error.errno or 0
        said = os.strerror(number) if number > 0 else error.strerror
        raise ConfigurationError(
            f"DELTAWORKS_METRICS_PORT={port} at DELTAWORKS_METRICS_HOST={host}: {said}; "
            "give each process of a machine a port of its own"
        ) from None
    transitions.observe(counted)
    logger.info("metrics at http://%s:%d/metrics", host, server.server_port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
