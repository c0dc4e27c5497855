"""What one gateway process consists of."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from msgspec import Struct
from redis.exceptions import RedisError

from worker.access import Access, Rate, Tokens, token_secret
from worker.cancellation import cancel
from worker.channel.log import Log
from worker.files import Storage, storage_of
from worker.gateway.abandonment import Abandonment
from worker.gateway.relay import Relays
from worker.metrics import names, read
from worker.runtime import Client, open_client_runtime, serve, settle_garbage
from worker.upstream import open_client
from worker.upstream.models import Models

# How long the word that a reader has left may take to Redis.
FAREWELL_S = 0.5


class Gateway(Struct, frozen=True):
    """The collaborators of the routes."""

    client: Client
    relays: Relays
    abandonment: Abandonment
    access: Access
    rate: Rate
    tokens: Tokens
    models: Models
    storage: Storage


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
        client = await stack.enter_async_context(open_client_runtime(asks=True))
        relays = Relays(client.follower, client.settings.heartbeat_s)
        read(names.READERS, lambda: relays.readers)
        await serve(stack, "heartbeats", relays.run())

        http = await stack.enter_async_context(open_client(client.settings.connect_timeout_s))

        async def cancel_job(id: str) -> None:
            await cancel(id, client.store.jobs, client.log, client.settings, client.catalog)

        async def is_read(id: str) -> bool:
            if relays.is_read(id):
                return True
            with suppress(RedisError, OSError):
                return await _is_heard(client.log, id)
            return False

        abandonment = Abandonment(cancel_job, is_read, client.settings.abandoned_s)
        stack.push_async_callback(abandonment.aclose)
        settle_garbage()
        yield Gateway(
            client=client,
            relays=relays,
            abandonment=abandonment,
            access=Access(client.store.keys, is_open=is_open),
            rate=Rate(client.redis),
            models=Models(client.catalog, http),
            # In a thread: the package of a service takes its time to be imported.
            storage=await asyncio.to_thread(storage_of, client.settings),
            tokens=Tokens(await asyncio.to_thread(token_secret, client.settings)),
        )


async def _is_heard(log: Log, id: str) -> bool:
    """Whether another process hears the job's channel: another gateway, to which a client came."""
    if not await log.listeners(id):
        return False
    await asyncio.sleep(FAREWELL_S)  # it may have been this one
    return bool(await log.listeners(id))
