"""Celery's consumer, but that a broker which is away for a while ends no worker."""

import logging
from typing import Any

from celery.worker import consumer

logger = logging.getLogger(__name__)


class Consumer(consumer.Consumer):
    """Takes for a lost connection what kombu 5.7 does not call one.

    A message that came by a connection which has been closed since cannot be acknowledged, nor
    given back where the broker was away just then: kombu looks for the closed connection's
    parameters, and an AttributeError would end the worker. What is not acknowledged costs
    nothing: a second delivery finds the job held or ended, and the sweep sends what was lost.
    """

    connection_errors: tuple[type[BaseException], ...]

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.connection_errors = (*self.connection_errors, AttributeError)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Close what is broken; what follows connects anew."""
        try:
            super().on_connection_error_after_connected(exc)
        except AttributeError:
            logger.warning("messages could not be given back: the broker is away")
