"""The way to an upstream: one HTTP client for a process, and one exchange for each attempt."""

from worker.upstream.client import open_client
from worker.upstream.exchange import Exchange, Request
from worker.upstream.patience import Limits

__all__ = ["Exchange", "Limits", "Request", "open_client"]
