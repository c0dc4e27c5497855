"""One POST, to a checked address and nowhere else: no redirect, no cookie, no proxy.

A proxy would look the name up once more, where nobody checks what it finds. Where all traffic has
to pass one, it must be one that is not seen, or that checks addresses itself.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from worker import __version__
from worker.transport import Transport
from worker.webhooks.addresses import PublicAddresses
from worker.webhooks.event import Signer

# From looking the name up to the answer's head: Standard Webhooks, "Request timeouts", recommends
# 15 to 30 s.
TIMEOUT_S = 15.0
# An answer's body says nothing to us; it is read so far only to use the connection again.
BODY_S, BODY_BYTES = 1.0, 16_384
# How long a connection waits for the next webhook. Servers close idle ones after 5 s and more, and
# a request that meets that end is lost.
KEEP_ALIVE_S = 2.0

HEADERS = {
    "accept": "*/*",
    "content-type": "application/json",
    "user-agent": f"deltaworks/{__version__}",
}


class Sender:
    """Signs and sends webhooks; obtained from `open_sender`."""

    def __init__(self, transport: Transport, signer: Signer, timeout_s: float) -> None:
        self._transport = transport
        self._signer = signer
        self._timeout_s = timeout_s

    async def post(self, url: str, id: str, body: bytes) -> int:
        """The status of the answer to the event with this id.

        Raises:
            TimeoutError: none in time.
            httpx.TransportError: none; its cause says why.
            httpx.InvalidURL: there is no asking this URL.
        """
        headers = {**HEADERS, **self._signer.headers(id, body)}
        request = httpx.Request("POST", url, headers=headers, content=body)
        async with asyncio.timeout(self._timeout_s):
            response = await self._transport.handle_async_request(request)
        try:
            await _read_some(response)
        finally:
            await response.aclose()
        return response.status_code


async def _read_some(response: httpx.Response) -> None:
    assert isinstance(response.stream, httpx.AsyncByteStream)
    read = 0
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(BODY_S):
            async for piece in response.stream:
                read += len(piece)
                if read > BODY_BYTES:
                    return


@asynccontextmanager
async def open_sender(
    signer: Signer,
    addresses: PublicAddresses,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = TIMEOUT_S,
) -> AsyncIterator[Sender]:
    """A sender that asks these addresses; it trusts whom the machine trusts, or `tls`."""
    trusted = tls or ssl.create_default_context()
    transport = Transport(trusted, KEEP_ALIVE_S, look_up=addresses, direct=True)
    try:
        yield Sender(transport, signer, timeout_s)
    finally:
        await transport.aclose()
        addresses.close()
