"""Checks of what has to go on all the time: workers, the sweep, webhooks."""

import asyncio
from collections.abc import Sequence

from redis.asyncio import Redis

from models import schema
from worker import endpoints, settings
from worker.app import app
from worker.channel.log import Log
from worker.cli.checks.finding import Finding, Level
from worker.settings import Settings
from worker.store import Store, condition_of, connect

# How long workers may take to answer a question to all of them.
WORKERS_S = 1.0
# After so many sweeps that did not come, or so many seconds where that is longer, it has stopped.
MISSED, MISSED_S = 5, 60.0


async def workers() -> Sequence[Finding]:
    """Whether a worker answers by way of the broker."""
    if settings.load().embedded_redis:
        return [Finding("workers", Level.OK, "started when a command needs one")]
    answers = await asyncio.to_thread(app.control.ping, timeout=WORKERS_S)
    said = f"{len(answers or [])} answer"
    level, remedy = (Level.OK, "") if answers else (Level.WARN, "start one: deltaworks worker")
    return [Finding("workers", level, said, remedy)]


async def sweep() -> Sequence[Finding]:
    """When the last sweep was: it needs a beat that ticks, and a worker that does it."""
    known = settings.load()
    if known.embedded_redis:
        return [Finding("sweep", Level.OK, "comes with the worker")]
    async with Redis.from_url(endpoints.resolve().redis_url, protocol=2) as client:
        ago_s = await Log(client).swept_s_ago()
    return [sweep_finding(ago_s, known)]


def sweep_finding(ago_s: float | None, known: Settings) -> Finding:
    """What to say where the last sweep was so many seconds ago; None is none within a day."""
    if ago_s is None:
        remedy = "start one: deltaworks beat (or deltaworks worker --beat), and a worker"
        return Finding("sweep", Level.WARN, "none for a day, or ever", remedy)
    said = f"the last one was {ago_s:,.0f} s ago"
    if ago_s > max(MISSED * known.sweep_s, MISSED_S):
        remedy = "nobody rescues, stages or ends overdue jobs: see to beat, and to a worker"
        return Finding("sweep", Level.FAIL, said, remedy)
    return Finding("sweep", Level.OK, said)


async def webhooks() -> Sequence[Finding]:
    """Whether webhooks can be signed; where they cannot, whether one waits for it."""
    known = settings.load()
    if known.webhook_secret is not None:
        secrets = len(known.webhook_secret.get_secret_value().split())
        where = ", and may go to private addresses" if known.webhook_private else ""
        said = f"signed with {secrets} secret{'s' if secrets > 1 else ''}{where}"
        return [Finding("webhooks", Level.OK, said)]
    url = endpoints.resolve().database_url
    if not schema.outdated((await condition_of(url)).revision) and await _is_any_due(url):
        remedy = "set DELTAWORKS_WEBHOOK_SECRET for workers and gateways"
        return [Finding("webhooks", Level.FAIL, "some wait, and there is no secret", remedy)]
    return [Finding("webhooks", Level.OK, "refused: DELTAWORKS_WEBHOOK_SECRET is not set")]


async def _is_any_due(url: str) -> bool:
    store = Store(connect(url), "doctor")
    try:
        return await store.webhooks.waiting()
    finally:
        await store.aclose()
