"""Whether the process lives, and whether it can do its work, dependency by dependency."""

import asyncio
from collections.abc import Awaitable

from starlette.requests import Request
from starlette.responses import Response

from worker.gateway.answers import json_answer
from worker.gateway.body import gateway_of
from worker.store import require_schema

PATIENCE_S = 3.0


async def healthz(_request: Request) -> Response:
    """`GET /healthz`: the process answers."""
    return json_answer({"status": "ok"})


async def readyz(request: Request) -> Response:
    """`GET /readyz`: 200 where requests can be accepted, else 503; with each reason.

    Without Redis jobs are still accepted and ends still told, so it makes nobody unready.
    """
    client = gateway_of(request).client
    database, redis = await asyncio.gather(
        _reason(require_schema(client.store.engine)), _reason(client.redis.ping())
    )
    reasons = {"database": database, "redis": redis}
    said = {name: {"ok": reason is None, "reason": reason} for name, reason in reasons.items()}
    status = "ready" if database is None else "unready"
    document = {"status": status, "dependencies": said}
    return json_answer(document, 200 if database is None else 503)


async def _reason(question: Awaitable[object]) -> str | None:
    """Why a dependency cannot be used; None where it can."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await question
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    except Exception as error:  # never its words: an address may hold a password
        return type(error).__name__
    return None
