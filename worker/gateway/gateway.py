"""What one gateway process consists of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from msgspec import Struct

from worker.access import Access, Rate, Tokens, token_secret
from worker.cancellation import cancel
from worker.gateway.abandonment import Abandonment
from worker.gateway.relay import Relays
from worker.runtime import Client, open_client_runtime, serve, settle_garbage
from worker.upstream import open_client
from worker.upstream.models import Models


class Gateway(Struct, frozen=True):
    """The collaborators of the routes."""

    client: Client
    relays: Relays
    abandonment: Abandonment
    access: Access
    rate: Rate
    tokens: Tokens
    models: Models


@asynccontextmanager
async def open_gateway(*, is_open: bool) -> AsyncIterator[Gateway]:
    """A gateway on the running loop.

    Args:
        is_open: whether nobody needs a key.

    Raises:
        ConfigurationError, EngineFailed, SchemaOutdated: what is configured does not work.
        OSError: the secret of read tokens can neither be read nor kept.
    """
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(open_client_runtime())
        relays = Relays(client.follower, client.settings.heartbeat_s)
        await serve(stack, "heartbeats", relays.run())

        http = await stack.enter_async_context(open_client(client.settings.connect_timeout_s))

        async def cancel_job(id: str) -> None:
            await cancel(id, client.store.jobs, client.log, client.settings)

        abandonment = Abandonment(cancel_job, relays.is_read, client.settings.abandoned_s)
        stack.push_async_callback(abandonment.aclose)
        settle_garbage()
        yield Gateway(
            client=client,
            relays=relays,
            abandonment=abandonment,
            access=Access(client.store.keys, is_open=is_open),
            rate=Rate(client.redis),
            models=Models(client.catalog, http),
            tokens=Tokens(await asyncio.to_thread(token_secret, client.settings)),
        )
