"""Which proxy the environment names for a URL: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY."""

import urllib.request
from urllib.request import getproxies_environment

import httpx


class Proxies:
    """The proxies of the environment, as they were at the start.

    Raises:
        httpx.UnsupportedProtocol: one of them is neither an `http` nor an `https` URL.
    """

    def __init__(self) -> None:
        self._named = getproxies_environment()
        for name in ("http", "https", "all"):
            if name in self._named:
                _checked(name, self._named[name])

    def proxy_for(self, url: httpx.URL) -> httpx.URL | None:
        """The proxy for the URL; None where the way is direct."""
        named = self._named.get(url.scheme) or self._named.get("all")
        host = f"{url.host}:{url.port}" if url.port else url.host
        bypassed = urllib.request.proxy_bypass_environment  # type: ignore[attr-defined]  # stub lacks it
        if not named or bypassed(host, self._named):
            return None
        return httpx.URL(named if "://" in named else f"http://{named}")


def _checked(name: str, value: str) -> None:
    scheme, found, _ = value.partition("://")
    if found and scheme not in ("http", "https"):
        raise httpx.UnsupportedProtocol(
            f"{name.upper()}_PROXY: {scheme}:// proxies are not supported; name an http:// one"
        )
