"""Opens and closes the collaborators of one process; the only place that constructs them."""

import asyncio
import gc
import logging
import os
import secrets
import socket
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from msgspec import Struct
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from models import Lane, schema
from worker import app, endpoints, metrics, settings
from worker.batch import Batches, BatchSubmission
from worker.catalog import Catalog
from worker.channel.follow import Follower
from worker.channel.hub import Hub, Subscription
from worker.channel.inquiry import Inquiry
from worker.channel.log import STOP, Log
from worker.channel.publisher import Publisher
from worker.errors import StoreAway
from worker.execution import Execution, Rows, Settling
from worker.files import storage_of
from worker.leases import Leases
from worker.limiter import Limiter
from worker.maintenance import Sweep
from worker.policy import Policy
from worker.retention import Retention
from worker.routing import Router
from worker.settings import Settings
from worker.spool import Spool, SpoolFolder
from worker.store import Store, connect, fingerprint, require_schema
from worker.submission import Submission
from worker.survey import Survey
from worker.tracing import set_up
from worker.upstream import open_client
from worker.webhooks import Deliveries, PublicAddresses, Sender, Signer, open_sender

logger = logging.getLogger(__name__)

# Connections for single commands; the channel's pub/sub has one of its own.
REDIS_CONNECTIONS = 16
REDIS_TIMEOUT_S = 5.0
# How long what is still to be published may take when a process ends.
LAST_WRITES_S = 2.0
# How soon a task that did not heed its cancellation is cancelled again.
CANCEL_AGAIN_S = 0.1

# Libraries whose debug lines hold statements with their values, or bodies: prompts, that is.
TELLTALES = ("aiosqlite", "celery.pool", "httpcore", "psycopg", "kombu", "amqp")


class Client(Struct, frozen=True):
    """What a process needs that submits, looks up, follows and cancels."""

    settings: Settings
    catalog: Catalog
    owner: str
    redis: Redis
    store: Store
    log: Log
    inquiry: Inquiry
    follower: Follower
    submission: Submission
    batches: BatchSubmission


class Worker(Struct, frozen=True):
    """What a process needs that runs jobs, too."""

    client: Client
    execution: Execution
    rows: Rows
    batches: Batches
    leases: Leases
    publisher: Publisher
    sweep: Sweep


@asynccontextmanager
async def open_client_runtime(*, asks: bool = False) -> AsyncIterator[Client]:
    """The collaborators of a process that does not run jobs.

    Args:
        asks: whether it asks the upstreams all the same: then the bundled simulator is started
            where none is configured.

    Raises:
        ConfigurationError, EngineFailed: what is configured does not work.
        SchemaOutdated: the database lacks a migration.
    """
    async with AsyncExitStack() as stack:
        known = endpoints.upstreams if asks else endpoints.known_upstreams
        yield await _client(stack, await asyncio.to_thread(known))


@asynccontextmanager
async def open_worker_runtime() -> AsyncIterator[Worker]:
    """The collaborators of a process that runs jobs.

    Raises:
        ConfigurationError, EngineFailed: what is configured does not work.
        SchemaOutdated: the database lacks a migration.
    """
    async with AsyncExitStack() as stack:
        set_up("deltaworks-worker")
        catalog = await asyncio.to_thread(endpoints.upstreams)
        for upstream in catalog.upstreams:
            upstream.api_key()  # a key that is missing is told now, not by every job
        client = await _client(stack, catalog)
        chosen, store = client.settings, client.store
        leases = Leases(store.holds, chosen.lease_s, chosen.renew_s, chosen.sweep_s)
        publisher = Publisher(client.log, store.holds.standing, chosen.bulk_flush_s)
        http = await stack.enter_async_context(open_client(chosen.connect_timeout_s))
        await serve(stack, "publisher", publisher.run())
        stack.push_async_callback(publisher.drain, LAST_WRITES_S)
        stack.push_async_callback(_leave_for_good, store)
        await serve(stack, "leases", leases.run())
        lease_s, renew_s = chosen.lease_s, chosen.renew_s
        limiter = Limiter(client.redis, client.owner, lease_s=lease_s, renew_s=renew_s)
        await serve(stack, "limiter", limiter.run())
        _tell(leases, limiter)
        spool = Spool(_spool_folder(chosen, store), store.holds, client.log, chosen)
        await serve(stack, "spool", spool.run())
        deliveries = Deliveries(store.webhooks, await _sender(stack, chosen))
        await serve(stack, "webhooks", deliveries.run())
        storage, catalog = storage_of(chosen), client.catalog
        batches = Batches(store, client.log, storage, catalog, chosen, app.wake_rows)
        await serve(stack, "batches", batches.run())
        retention = Retention(store, chosen)
        await serve(stack, "retention", retention.run())
        await serve(stack, "stop", _stop_cancelled(client.follower.hub, leases))
        settle_garbage()
        execution = Execution(
            leases=leases,
            settling=Settling(store.holds, spool, deliveries.look, batches),
            publisher=publisher,
            http=http,
            router=Router(catalog, store.suspensions),
            limiter=limiter,
            policy=Policy.load(chosen.policy_file),
            settings=chosen,
        )

        def look_further() -> None:
            deliveries.look()
            batches.look()
            retention.look()

        yield Worker(
            client=client,
            execution=execution,
            rows=Rows(execution, leases),
            batches=batches,
            leases=leases,
            publisher=publisher,
            sweep=Sweep(store, client.log, app.wake, leases, chosen, catalog, look_further),
        )


async def survey(client: Client) -> None:
    """Have the fleet's metrics read in this process, until cancelled (see `worker.survey`)."""
    broker_url = client.settings.broker_url
    servers, broker = {"channel": client.redis}, None
    async with AsyncExitStack() as stack:
        if broker_url is None:
            broker = client.redis
        elif broker_url.startswith(settings.REDIS_SCHEMES):
            broker = _redis(broker_url)
            stack.push_async_callback(broker.aclose)
        if broker is not None:
            servers["broker"] = broker
        asking = Survey(client.store, servers, broker, app.QUEUES)
        asking.offer()
        await asking.run()


def _tell(leases: Leases, limiter: Limiter) -> None:
    """Have what this process holds read for its metrics."""

    def held() -> Iterable[metrics.Sample]:
        lanes = Counter(hold.job.lane for hold in list(leases.held.values()))
        return [((lane.value,), lanes[lane.value]) for lane in Lane]

    def streams() -> Iterable[metrics.Sample]:
        return Counter(map(metrics.limiting.labels_of, limiter.admitted())).items()

    metrics.read(metrics.names.HELD, held)
    metrics.read(metrics.names.OPEN_STREAMS, streams)
    metrics.read(metrics.names.LIMITER_ALONE, lambda: limiter.alone)


def settle_garbage() -> None:
    """Leave what lives as long as the process out of each collection, and collect less often.

    A stream allocates much and makes no cycles; the default threshold, 700 allocations, has a
    busy worker look for garbage some hundred times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _sender(stack: AsyncExitStack, chosen: Settings) -> Sender | None:
    secret = chosen.webhook_secret
    if secret is None:
        return None
    addresses = PublicAddresses(private=chosen.webhook_private)
    return await stack.enter_async_context(
        open_sender(Signer(secret.get_secret_value().split()), addresses)
    )


def _spool_folder(chosen: Settings, store: Store) -> SpoolFolder:
    path = chosen.spool / fingerprint(store.engine.url)
    return SpoolFolder(path, chosen.spool_files, chosen.spool_bytes)


async def _client(stack: AsyncExitStack, catalog: Catalog) -> Client:
    for library in TELLTALES:
        logging.getLogger(library).setLevel(logging.INFO)
    chosen = settings.load()
    found = await asyncio.to_thread(endpoints.resolve)
    metrics.BOUNDS.know(catalog)
    owner = _owner()
    engine = connect(found.database_url, prepares=chosen.database_prepares)
    store = Store(engine, owner)
    stack.push_async_callback(store.aclose)
    if chosen.embedded_database:
        await asyncio.to_thread(schema.upgrade, found.database_url)
    await require_schema(store.engine)
    redis = _redis(found.redis_url)
    stack.push_async_callback(redis.aclose)
    log, hub, inquiry = Log(redis), Hub(redis), Inquiry(store.jobs.many)
    await serve(stack, "hub", hub.run())
    return Client(
        settings=chosen,
        catalog=catalog,
        owner=owner,
        redis=redis,
        store=store,
        log=log,
        inquiry=inquiry,
        follower=Follower(hub, log, inquiry, chosen.silence_s),
        submission=Submission(store.jobs, log, app.wake, app.dispatch_soon, catalog, chosen),
        batches=BatchSubmission(store, app.sweep_soon, chosen),
    )


def _redis(url: str) -> Redis:
    """A client that fails fast: whoever uses it knows what to do meanwhile."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=REDIS_CONNECTIONS,
        timeout=REDIS_TIMEOUT_S,
        protocol=2,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )
    return Redis.from_pool(pool)


async def serve(stack: AsyncExitStack, name: str, work: Coroutine[object, object, None]) -> None:
    """Run `work` until the stack closes. If it ends before, the process cannot do its duty."""
    task = asyncio.create_task(work, name=name)

    def ended(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()):
            logger.critical("%s ended: the process stops", name, exc_info=error)
            os._exit(70)

    async def cancel() -> None:
        # More than once: redis-py has been seen to swallow a cancellation while it connects.
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=CANCEL_AGAIN_S)

    task.add_done_callback(ended)
    stack.push_async_callback(cancel)


async def _leave_for_good(store: Store) -> None:
    with suppress(StoreAway):  # else it counts as a death, of a process without jobs
        await store.holds.leave_for_good()


async def _stop_cancelled(hub: Hub, leases: Leases) -> None:
    """Stop the streams of jobs that somebody cancelled, as soon as the word comes."""
    async with hub.subscribe(STOP) as subscription:
        while True:
            job = await subscription.get(None)
            hold = None if job is Subscription.RENEWED else leases.held.get(job.decode())
            if hold is not None:
                hold.lose()


def _owner() -> str:
    """Names this process in leases: for people to find it, and unlike any other."""
    return f"{socket.gethostname()[:32]}:{os.getpid()}:{secrets.token_hex(6)}"
