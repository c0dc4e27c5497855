"""Whether a gateway lives, and whether it can do its work: each dependency, and why not."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from tests.proxy import Proxy
from tests.servers import PostgresServer, RedisServer
from tests.stack import Stack, address_of, chat

pytestmark = pytest.mark.xdist_group("gateway health")


class Dependent(NamedTuple):
    """A client of a gateway, and the ways to what the gateway depends on."""

    http: httpx.AsyncClient
    redis: Proxy
    database: Proxy


@pytest.fixture
async def dependent(
    redis_server: RedisServer, postgres_server: PostgresServer
) -> AsyncIterator[Dependent]:
    """A gateway whose Redis and database can be taken away."""
    url = postgres_server.create_database()
    with tempfile.TemporaryDirectory(prefix="dw-health-") as folder:
        async with Proxy(redis_server.url) as redis, Proxy(url) as database:
            with Stack(Path(folder), redis_server.url, url) as stack:
                stack.env |= {
                    "DELTAWORKS_REDIS_URL": redis.url,
                    "DELTAWORKS_DATABASE_URL": database.url,
                }
                gateway = await asyncio.to_thread(stack.gateway)
                address = address_of(gateway)
                async with httpx.AsyncClient(base_url=address, timeout=60) as http:
                    yield Dependent(http, redis, database)


async def reasons(http: httpx.AsyncClient) -> tuple[int, str, dict[str, bool]]:
    """Status, word, and which dependency is all right; one that is not says why."""
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    answer = await http.get("/readyz")
    found = answer.json()
    for each in found["dependencies"].values():
        assert each["ok"] == (each["reason"] is None)
    fine = {name: each["ok"] for name, each in found["dependencies"].items()}
    return answer.status_code, found["status"], fine


async def test_a_gateway_says_what_it_lacks_and_accepts_jobs_without_redis(
    dependent: Dependent,
) -> None:
    http = dependent.http
    document = {"request": chat("sim")}
    assert await reasons(http) == (200, "ready", {"database": True, "redis": True})

    await dependent.redis.down()
    assert await reasons(http) == (200, "ready", {"database": True, "redis": False})
    accepted = await http.post("/v1/jobs", json=document)
    assert accepted.status_code == 201
    await dependent.redis.up()

    await dependent.database.down()
    assert await reasons(http) == (503, "unready", {"database": False, "redis": True})
    refused = await http.post("/v1/jobs", json=document)
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_away")
    assert refused.headers["retry-after"] == "1"
    await dependent.database.up()

    assert (await reasons(http))[0] == 200
    again = await http.get(f"/v1/jobs/{accepted.json()['id']}")
    assert again.json()["state"] == "queued"
