"""Webhooks: each end is told, at least once and for days, and by one process at a time."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import update

from models import Batch, Job, Lane
from tests.jobs import attempt, claimed, ended, new_id, queue, request
from tests.proxy import Proxy
from tests.receiver import HANGS, SECRET, receiving
from tests.service.conftest import OpenStore
from tests.wire import until
from worker.store import Store
from worker.webhooks import Deliveries, PublicAddresses, Signer, open_sender
from worker.webhooks.delivery import JITTER, PORTION, RETRIES_S, TAKEN_S
from worker.webhooks.silence import SILENT_AT

PAST = timedelta(seconds=-1)


@asynccontextmanager
async def delivering(*stores: Store, timeout_s: float = 15.0) -> AsyncIterator[list[Deliveries]]:
    """Processes that deliver, one for each store, without anybody who has them look."""
    async with AsyncExitStack() as stack:
        found = []
        for store in stores:
            addresses = PublicAddresses(private=True)
            opening = open_sender(Signer([SECRET]), addresses, timeout_s=timeout_s)
            deliveries = Deliveries(store.webhooks, await stack.enter_async_context(opening))
            running = asyncio.create_task(deliveries.run())
            stack.callback(running.cancel)
            found.append(deliveries)
        yield found


async def finished(store: Store, url: str, prompt: str = "canary-prompt", **fields: Any) -> str:
    """A job with a webhook that has completed."""
    job = await claimed(store, await queue(store, prompt=prompt, webhook=url, **fields))
    assert await store.holds.settle(ended(job), attempt(job))
    return job.id


async def row(store: Store, id: str) -> Job:
    return await store.jobs.get(id)


async def let_it_be_due(store: Store, id: str) -> None:
    """As if the time to the next try had passed."""
    past = datetime.now(UTC) + PAST
    async with store.engine.begin() as connection:
        await connection.execute(update(Job).where(Job.id == id).values(webhook_due_at=past))


async def is_done(store: Store, id: str) -> bool:
    return (await row(store, id)).webhook_due_at is None


async def waits(store: Store, id: str, tries: int) -> bool:
    """Whether so many tries have failed, and the next one has its time."""
    job = await row(store, id)
    due = job.webhook_due_at
    # Not any more what a try under way has.
    left_s = 0.0 if due is None else (due - datetime.now(UTC)).total_seconds()
    return job.webhook_tries == tries and due is not None and not TAKEN_S - 9 < left_s <= TAKEN_S


async def test_a_job_tells_of_its_end_once(store: Store) -> None:
    async with receiving() as receiver, delivering(store) as (deliveries,):
        id = await finished(store, receiver.url, metadata={"order": "7"})
        deliveries.look()
        await until(lambda: is_done(store, id))
        deliveries.look()
        other = await finished(store, receiver.url, prompt="another")
        deliveries.look()
        await until(lambda: is_done(store, other))
    event, _ = receiver.events()
    job = await row(store, id)
    assert job.finished_at is not None
    told = event.pop("data")
    assert event == {
        "id": f"evt_{id}",
        "object": "event",
        "created_at": int(job.finished_at.timestamp()),
        "type": "job.completed",
    }
    assert (told["id"], told["object"], told["state"]) == (id, "job", "completed")
    assert (told["output_text"], told["metadata"]) == ("done", {"order": "7"})
    assert [one.headers["webhook-id"] for one in receiver.received] == [f"evt_{id}", f"evt_{other}"]
    assert not any(b"canary-prompt" in one.body for one in receiver.received)


async def test_every_way_to_end_is_told(open_store: OpenStore) -> None:
    store, dead = open_store("us"), open_store("dead")
    past = datetime.now(UTC) + PAST
    async with receiving() as receiver, delivering(store) as (deliveries,):
        hook = {"webhook": receiver.url}
        expected = {}
        for state in ("completed", "incomplete", "failed"):
            job = await claimed(store, await queue(store, prompt=state, **hook))
            job.state, job.finish_reason = state, "length"
            await store.holds.settle(job, attempt(job))
            expected[job.id] = state
        cancelled = await queue(store, prompt="cancelled", **hook)
        await store.jobs.cancel(cancelled)
        overdue = await queue(store, prompt="overdue", deadline_at=past, **hook)
        await store.sweeping.overdue(10)
        poison = (await claimed(dead, await queue(dead, prompt="poison", **hook), lease_s=-1)).id
        async with store.engine.begin() as connection:
            await connection.execute(update(Job).where(Job.id == poison).values(crashes=2))
        await store.sweeping.rescue(10)
        columns = {"state": "failed", "attempt": 1, "finished_at": past}
        refused, _ = await store.jobs.insert(
            request("refused", **hook), id=new_id(), tenant="t", deadline_s=0, ended=columns
        )
        expected |= {cancelled: "cancelled", overdue: "failed"}
        expected |= {poison: "failed", refused.id: "failed"}
        waiting = await queue(store, prompt="waiting", **hook)
        running = await claimed(store, await queue(store, prompt="running", **hook))
        deliveries.look()
        await until(lambda: len(receiver.received) == len(expected))
        for id in expected:
            await until(partial(is_done, store, id))
    told = {event["data"]["id"]: event["type"] for event in receiver.events()}
    assert told == {id: f"job.{state}" for id, state in expected.items()}
    for id in (waiting, running.id):
        assert not await is_done(store, id)


async def test_a_webhook_that_fails_is_tried_for_days_and_then_given_up(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "worker")
    failures: list[int | bytes] = [500, 404, 302, 429, b"nonsense\r\n\r\n", b"", 503, 401, 400, 502]
    assert len(failures) == len(RETRIES_S) + 1
    async with receiving(*failures) as receiver, delivering(store) as (deliveries,):
        id = await finished(store, receiver.url)
        for number, wait_s in enumerate(RETRIES_S, 1):
            asked = datetime.now(UTC)
            deliveries.look()
            await until(partial(waits, store, id, number))
            due = (await row(store, id)).webhook_due_at
            assert due is not None
            tried_s = (datetime.now(UTC) - asked).total_seconds()
            waits_s = (due - asked).total_seconds()
            assert wait_s - 0.1 <= waits_s <= wait_s * (1 + JITTER) + tried_s + 0.1
            await let_it_be_due(store, id)
        deliveries.look()
        await until(lambda: is_done(store, id))
    assert len(receiver.received) == len(failures)
    # The same event each time, signed anew.
    assert len({one.body for one in receiver.received}) == 1
    assert {one.headers["webhook-id"] for one in receiver.received} == {f"evt_{id}"}
    receiver.events()
    assert f"job {id}: its webhook is given up at try 10: 502" in caplog.text
    for secret in ("canary", "/hook", "127.0.0.1", SECRET):
        assert secret not in caplog.text


async def test_a_receiver_that_comes_back_is_told(store: Store) -> None:
    async with receiving(503) as receiver, delivering(store) as (deliveries,):
        id = await finished(store, receiver.url)
        deliveries.look()
        await until(lambda: waits(store, id, 1))
        await let_it_be_due(store, id)
        deliveries.look()
        await until(lambda: is_done(store, id))
    assert [event["id"] for event in receiver.events()] == [f"evt_{id}"] * 2


async def test_a_receiver_that_is_gone_is_not_asked_again(store: Store) -> None:
    async with receiving(410) as receiver, delivering(store) as (deliveries,):
        id = await finished(store, receiver.url)
        deliveries.look()
        await until(lambda: is_done(store, id))
    assert len(receiver.received) == 1


async def test_several_processes_deliver_each_webhook_once(open_store: OpenStore) -> None:
    stores = [open_store(f"copy-{number}") for number in range(4)]
    async with receiving() as receiver, delivering(*stores) as copies:
        ids = [await finished(stores[0], receiver.url, prompt=str(n)) for n in range(60)]

        async def all_done() -> bool:
            for deliveries in copies:
                deliveries.look()
            rows = await stores[0].jobs.many(ids)
            return all(job.webhook_due_at is None for job in rows.values())

        await until(all_done)
    told = [event["data"]["id"] for event in receiver.events()]
    assert sorted(told) == sorted(ids)


async def test_a_try_that_died_is_made_again_by_another(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    async with receiving(HANGS) as receiver:
        async with delivering(us) as (deliveries,):
            id = await finished(us, receiver.url)
            deliveries.look()
            await until(lambda: receiver.received)
        async with delivering(them) as (deliveries,):
            deliveries.look()
            other = await finished(them, receiver.url, prompt="another")
            deliveries.look()
            await until(lambda: is_done(them, other))
            assert not await is_done(them, id)
            await let_it_be_due(them, id)
            deliveries.look()
            await until(lambda: is_done(them, id))
    told = [event["data"]["id"] for event in receiver.events()]
    assert told == [id, other, id]


async def test_an_erased_job_tells_that_it_ended_and_no_more(store: Store) -> None:
    async with receiving() as receiver, delivering(store) as (deliveries,):
        id = await finished(store, receiver.url, metadata={"who": "me"})
        await store.jobs.erase(id)
        deliveries.look()
        await until(lambda: is_done(store, id))
    (event,) = receiver.events()
    assert event["type"] == "job.completed"
    assert (event["data"]["output_text"], event["data"]["output"]) == (None, None)
    assert event["data"]["metadata"] == {}


async def test_others_do_not_wait_for_a_receiver_that_is_silent(rows: Store) -> None:
    async with (
        receiving(*[HANGS] * 100) as silent,
        receiving() as receiver,
        delivering(rows, timeout_s=0.5) as (deliveries,),
    ):

        async def silent_jobs(count: int) -> list[str]:
            return [await finished(rows, silent.url, prompt=str(n)) for n in range(count)]

        async def all_wait(ids: list[str]) -> bool:
            return all([await waits(rows, id, 1) for id in ids])

        ids = await silent_jobs(SILENT_AT)
        deliveries.look()
        await until(lambda: all_wait(ids))
        more = await silent_jobs(30)
        other = await finished(rows, receiver.url, prompt="other")
        deliveries.look()
        await until(lambda: is_done(rows, other))
        await until(lambda: all_wait(more))
    assert len(silent.received) == SILENT_AT


async def test_interactive_jobs_do_not_wait_behind_bulk(rows: Store) -> None:
    async with receiving() as receiver, delivering(rows) as (deliveries,):
        for number in range(2 * PORTION):
            await finished(rows, receiver.url, prompt=str(number), lane=Lane.BULK)
        id = await finished(rows, receiver.url, prompt="somebody waits")
        deliveries.look()
        await until(lambda: len(receiver.received) == 2 * PORTION + 1)
    told = [event["data"]["id"] for event in receiver.events()]
    assert told.index(id) < PORTION


async def test_a_database_that_is_away_costs_a_second_try_and_no_more(
    us: Store, them: Store, proxy: Proxy, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiving(HANGS) as receiver, delivering(us, timeout_s=0.5) as (deliveries,):
        id = await finished(them, receiver.url)
        deliveries.look()
        await until(lambda: receiver.received)
        await proxy.down()
        deliveries.look()
        await until(lambda: f"job {id}: its webhook is sent again" in caplog.text)
        await until(lambda: "webhooks wait: the database" in caplog.text)
        await proxy.up()
        await let_it_be_due(them, id)
        deliveries.look()
        await until(lambda: is_done(them, id))
    assert [event["data"]["id"] for event in receiver.events()] == [id, id]


async def test_a_name_that_leads_nowhere_is_a_failed_try(rows: Store) -> None:
    async with delivering(rows) as (deliveries,):
        id = await finished(rows, "https://nobody.invalid/hook")
        deliveries.look()
        await until(lambda: waits(rows, id, 1))


async def test_without_a_secret_webhooks_wait_and_that_is_said_once(
    rows: Store, caplog: pytest.LogCaptureFixture
) -> None:
    deliveries = Deliveries(rows.webhooks, None)
    running = asyncio.create_task(deliveries.run())
    async with receiving() as receiver, delivering(rows) as (able,):
        id = await finished(rows, receiver.url)
        deliveries.look()
        await until(lambda: "DELTAWORKS_WEBHOOK_SECRET" in caplog.text)
        assert not await is_done(rows, id)
        able.look()
        await until(lambda: is_done(rows, id))
    running.cancel()
    await asyncio.wait([running])
    assert (await row(rows, id)).webhook_tries == 1


async def test_a_batch_tells_of_its_end_once_by_its_id(store: Store) -> None:
    async with receiving() as receiver, delivering(store) as (deliveries,):
        ended_at = datetime.now(UTC)
        batch = await store.batches.add(
            Batch(
                id="batch_0123456789abcdef",
                tenant="default",
                endpoint="/v1/chat/completions",
                status="completed",
                input_file_id="file-0",
                completion_window="24h",
                expires_at=ended_at,
                completed_at=ended_at,
                webhook_url=receiver.url,
                webhook_due_at=ended_at,
            )
        )
        deliveries.look()

        async def is_told() -> bool:
            return (await store.batches.get(batch.id)).webhook_due_at is None

        await until(is_told)
        (event,) = receiver.events()
        assert event["type"] == "batch.completed" and event["data"] == {"id": batch.id}
        assert event["created_at"] == int(ended_at.timestamp())
