"""The way to an upstream: one HTTP client for a process, and one exchange for each attempt."""

from worker.upstream.client import Client, open_client
from worker.upstream.exchange import Exchange, Request
from worker.upstream.patience import Limits

__all__ = ["Client", "Exchange", "Limits", "Request", "open_client"]
