"""Where requests go, who sends them, and how long that is tried."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import httpx

from worker import __version__
from worker.client.calls import Call
from worker.client.exchange import Exchange, ManySubmitted
from worker.client.following import Following
from worker.client.patience import Patience

T = TypeVar("T")

BASE_URL, API_KEY = "DELTAWORKS_BASE_URL", "DELTAWORKS_API_KEY"
# How long one answer may take, and a connection; seconds.
TIMEOUT_S, CONNECT_S = 30.0, 10.0
# How long it is tried without any success.
PATIENCE_S = 60.0
# A stream that is silent for so long is dead: three of the gateway's heartbeats of 15 s.
SILENCE_S = 45.0

# Each follower holds a connection: what httpx allows, 100, would have the others wait.
LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=100)
TIMEOUT = httpx.Timeout(TIMEOUT_S, connect=CONNECT_S)


class Target:
    """One gateway as one client sees it.

    Raises:
        ValueError: no base_url is given or set, it is none, or the key cannot be one.
    """

    def __init__(
        self, base_url: str | None, api_key: str | None, patience_s: float, silence_s: float
    ) -> None:
        self.base_url = _base_url(base_url or os.environ.get(BASE_URL, ""))
        self._headers = _headers(api_key or os.environ.get(API_KEY, ""))
        self._patience_s = patience_s
        self._silence_s = silence_s

    def __str__(self) -> str:
        return repr(str(httpx.URL(self.base_url).copy_with(userinfo=b"")))

    def exchange(self, call: Call[T]) -> Exchange[T]:
        """The call, to be sent and answered."""
        return Exchange(call, Patience(self._patience_s))

    def many(self, documents: Sequence[Mapping[str, Any]]) -> ManySubmitted:
        """Job requests, to be sent and answered."""
        return ManySubmitted(documents, Patience(self._patience_s))

    def following(self, job: str, after: str | None) -> Following:
        """The job's events, to be heard."""
        return Following(job, after, Patience(self._patience_s))

    def request(self, call: Call[Any]) -> dict[str, Any]:
        """The call, as the arguments of httpx's `request`."""
        return {
            "method": call.method,
            "url": self.base_url + call.path,
            "params": call.params,
            "content": call.content,
            "headers": {**self._headers, **call.headers},
        }

    def stream(self, following: Following, timeout: httpx.Timeout) -> dict[str, Any]:
        """The next connection, as the arguments of httpx's `stream`; `timeout` is the client's."""
        return {
            "method": "GET",
            "url": self.base_url + following.path,
            "headers": {**self._headers, **following.headers()},
            "timeout": httpx.Timeout(**{**timeout.as_dict(), "read": self._silence_s}),
        }


def _base_url(given: str) -> str:
    if not given:
        raise ValueError(f"base_url: is missing; give it, or set {BASE_URL}")
    try:
        url = httpx.URL(given)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError("base_url: is no address; give one like https://deltaworks.example.com")
    # As OpenAI's clients want it, so that one setting serves both.
    return given.rstrip("/").removesuffix("/v1")


def _headers(key: str) -> dict[str, str]:
    headers = {"user-agent": f"deltaworks-python/{__version__}", "accept": "application/json"}
    key = key.strip()
    if not all("!" <= character <= "~" for character in key):
        raise ValueError("api_key: has characters that no key has; give it as it was printed")
    return {**headers, "authorization": f"Bearer {key}"} if key else headers
