"""Batches pause themselves rather than burn their rows, say why, and go on when they may."""

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from tests.gateway.conftest import QUICK
from tests.servers import RedisServer
from tests.stack import Stack, address_of, chat
from tests.wire import until

PRICED = """[[upstream]]
name = "simulator"
base_url = "{}"
models = ["*"]

[upstream.prices."*"]
input = 0.0
output = 1000.0
"""
CHAT = "/v1/chat/completions"
# Ten tokens: a hundredth of the currency.
PRICE, FAST = 0.01, "sim?tokens=10&rate=200&ttft=0"


@pytest.fixture(scope="module")
def priced(redis_server: RedisServer) -> Iterator[Stack]:
    """A worker with fifty slots for rows, and a gateway; tokens have a price."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    with tempfile.TemporaryDirectory(prefix="dw-priced-") as folder:
        database_url = f"sqlite:///{folder}/jobs.db"
        with Stack(Path(folder), redis_server.url, database_url) as stack:
            upstreams = Path(folder) / "upstreams.toml"
            upstreams.write_text(PRICED.format(stack.base_url))
            stack.env |= {**QUICK, "DELTAWORKS_UPSTREAMS_FILE": str(upstreams)}
            stack.env |= {"DELTAWORKS_STREAMS": "50", "DELTAWORKS_INTERACTIVE_RESERVE": "0"}
            stack.address = address_of(stack.gateway())
            stack.sweeping_worker()
            yield stack


@pytest.fixture
async def client(priced: Stack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=priced.address, timeout=60) as client:
        yield client


async def created(client: httpx.AsyncClient, models: list[str], **fields: Any) -> str:
    """The id of a new batch; no row can cost more than ten tokens do."""
    bodies = [chat(model, str(n), max_tokens=10) for n, model in enumerate(models)]
    rows = [
        {"custom_id": str(n), "method": "POST", "url": CHAT, "body": body}
        for n, body in enumerate(bodies)
    ]
    content = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    sent = await client.post("/v1/files", data={"purpose": "batch"}, files={"file": content})
    request = {"input_file_id": sent.json()["id"], "endpoint": CHAT, "mixed_models": True}
    answer = await client.post("/v1/batches", json={**request, **fields})
    return str(answer.raise_for_status().json()["id"])


async def batch(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(f"/v1/batches/{id}")).json()
    return found


async def paused(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """The batch once it is paused and nothing of it runs any more."""
    seen: list[Any] = [None]

    async def is_quiet() -> bool:
        before, now = seen[-1], await batch(client, id)
        seen.append(now)
        await asyncio.sleep(0.2)
        return bool(now["paused"]) and before == now

    await until(is_quiet)
    found: dict[str, Any] = seen[-1]
    return found


async def ended(client: httpx.AsyncClient, id: str) -> dict[str, Any]:
    async def has_ended() -> bool:
        return bool((await batch(client, id))["status"] == "completed")

    await until(has_ended)
    return await batch(client, id)


async def resumed_to_its_end(
    priced: Stack, client: httpx.AsyncClient, id: str, *, rows: int
) -> None:
    """Resume the upstream that the batch was paused for: all rows of it complete."""
    resumed = priced.start("resume", "-m", "worker.cli", "upstreams", "resume", "simulator")
    assert await asyncio.to_thread(resumed.popen.wait, 60) == 0
    found = await ended(client, id)
    assert found["request_counts"] == {"total": rows, "completed": rows, "failed": 0}


async def test_a_spending_cap_stops_a_batch_in_time_and_a_higher_one_lets_it_go_on(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    id = await created(client, [FAST] * 150, max_cost=1.0)
    found = await paused(client, id)
    assert found["paused"]["reason"] == "max_cost"
    assert found["cost"] == pytest.approx(len(priced.record()) * PRICE)
    assert 1.0 - PRICE <= found["cost"] <= 1.0
    answer = await client.post(f"/v1/batches/{id}/resume", json={"max_cost": 5})
    assert answer.json()["paused"] is None
    found = await ended(client, id)
    assert found["request_counts"] == {"total": 150, "completed": 150, "failed": 0}
    assert found["cost"] == pytest.approx(1.5)


async def test_too_many_failures_pause_a_batch_before_it_has_burned_its_rows(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    failing = "sim?fault=content-policy&times=all"
    id = await created(client, [failing] * 400, max_failed_ratio=0.5)
    found = await paused(client, id)
    assert found["paused"]["reason"] == "max_failed_ratio"
    assert "20" in found["paused"]["message"] or found["request_counts"]["failed"] >= 20
    assert found["request_counts"]["failed"] < 400
    assert found["failures"] == {} or set(found["failures"]) == {"content_filter"}
    await client.post(f"/v1/batches/{id}/cancel")


async def test_a_suspended_upstream_pauses_a_batch_until_it_is_resumed(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    broke = "sim?fault=insufficient-quota&times=1&key=broke"
    id = await created(client, [broke, *[FAST] * 120])
    found = await paused(client, id)
    assert found["paused"]["reason"] == "suspended"
    assert found["paused"]["until"] > found["paused"]["since"]
    assert found["request_counts"]["failed"] == 0  # not one row is burned
    await resumed_to_its_end(priced, client, id, rows=121)


async def test_a_suspension_that_outlasts_the_batch_burns_none_of_its_rows(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    broke = "sim?fault=insufficient-quota&times=1&key=bankrupt"
    id = await created(client, [broke, *[FAST] * 120], completion_window="10m")
    found = await paused(client, id)
    assert found["paused"]["reason"] == "suspended"
    assert found["paused"]["until"] > found["expires_at"]
    assert found["request_counts"]["failed"] == 0
    await resumed_to_its_end(priced, client, id, rows=121)


async def test_rows_that_are_told_to_wait_for_minutes_leave_the_slots_to_other_batches(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    id = await created(client, ["sim?fault=status-429&wait=100&times=all"] * 200)
    await until(lambda: any("status-429" in str(each) for each in priced.record()))
    other = await created(client, [FAST] * 100)
    assert (await ended(client, other))["request_counts"]["completed"] == 100
    assert (await batch(client, id))["paused"] is None
    await client.post(f"/v1/batches/{id}/cancel")


async def test_interactive_jobs_go_on_beside_a_batch_that_takes_all_slots(
    priced: Stack, client: httpx.AsyncClient
) -> None:
    slow, served = "sim?tokens=9&rate=1&ttft=0", len(priced.record())
    id = await created(client, [slow] * 200)
    # A request is in the record from its beginning on.
    await until(lambda: len(priced.record()) >= served + 50)
    answer = await client.post(CHAT, json=chat(FAST, "now"), timeout=20)
    assert answer.status_code == 200
    await client.post(f"/v1/batches/{id}/cancel")
