"""The process's HTTP client: httpx over aiohttp's connections.

httpx's own pool rescans all connections at each request's start and end, which is superlinear in
open streams, and keeps slots of cancelled streams for ever (encode/httpcore issue 1093). This
module is the only one that knows what carries the bytes.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from worker import __version__

# How long an idle connection is kept for the next request to the same upstream.
KEEP_ALIVE_S = 30.0


@asynccontextmanager
async def open_client(connect_timeout_s: float) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a limit of connections: how many streams run is decided elsewhere.

    The proxy variables of the environment are honoured, cookies and redirects are not: either
    could send a key where it does not belong.
    """
    tls = ssl.create_default_context()
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls, keepalive_timeout=KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    )
    client = httpx.AsyncClient(
        transport=AiohttpTransport(verify=tls, client=session),
        timeout=httpx.Timeout(None, connect=connect_timeout_s),
        follow_redirects=False,
        headers={"user-agent": f"deltaworks/{__version__}"},
    )
    async with session, client:
        yield client
