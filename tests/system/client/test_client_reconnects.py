"""Whatever breaks between client and job: no gap, no duplicate, and one job for one submit."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.clients import AnyClient, Connect, ConnectBoth, check_order, heard
from tests.commands import Deltaworks
from tests.proxy import Proxy
from tests.stack import Process, Stack, address_of, chat
from tests.wire import until
from worker.client import (
    ConnectionFailed,
    Delta,
    Denied,
    Event,
    RateLimited,
    Transcript,
    Unauthorized,
)

pytestmark = pytest.mark.xdist_group("client")

# A second and a half, in 75 deltas.
STREAM = "sim?tokens=75&rate=50&ttft=0"


class Reading:
    """A reader in a task of its own, so that a test can wait until it has heard so much."""

    def __init__(self, client: AnyClient, id: str) -> None:
        self.transcript = Transcript()
        self.events: list[Event] = []
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._read(client, id))

    async def _read(self, client: AnyClient, id: str) -> None:
        async with aclosing(client.follow(id)) as events:
            async for event in events:
                self.events.append(event)
                self.transcript.apply(event)
                self._more.set()

    async def heard(self, deltas: int) -> None:
        """Return when it has heard so many deltas more."""
        already = self._deltas()
        async with asyncio.timeout(20):
            while self._deltas() < already + deltas:
                self._more.clear()
                await self._more.wait()

    async def end(self) -> Transcript:
        """What it holds when the job has ended."""
        async with asyncio.timeout(30):
            await self._task
        check_order(self.events)
        return self.transcript

    def _deltas(self) -> int:
        return sum(isinstance(event, Delta) for event in self.events)


@pytest.fixture
async def proxy(address: str) -> AsyncIterator[Proxy]:
    """The way to the gateway, which the test may cut."""
    async with Proxy(address) as proxy:
        yield proxy


def restarted(stack: Stack, gateway: Process) -> Process:
    """A new gateway process where another was."""
    port = str(urlsplit(address_of(gateway)).port)
    return stack.gateway("--no-keys", "--port", port)


async def check_saved(client: AnyClient, id: str, transcript: Transcript) -> None:
    assert transcript.text == (await client.result(id, check=True))["output_text"] != ""


async def test_a_stream_whose_connection_is_cut_again_and_again_is_whole(
    connect: Connect, proxy: Proxy
) -> None:
    client = connect(proxy.url)
    job = await client.submit(chat(STREAM))
    reading = Reading(client, job["id"])
    for _ in range(2):
        await reading.heard(5)
        await proxy.down()
        await proxy.up()
    await check_saved(client, job["id"], await reading.end())

    opened = [head for head in proxy.requests if b"/events" in head]
    assert len(opened) == 3 and b"last-event-id: 1-" in opened[2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=lambda it: it.name)
async def test_a_gateway_that_ends_and_comes_back_costs_neither_text_nor_a_second_job(
    connect_both: ConnectBoth, stack: Stack, number: signal.Signals
) -> None:
    gateway = await asyncio.to_thread(stack.gateway)
    clients = connect_both(address_of(gateway))
    job = await clients[0].submit(chat(STREAM))
    readings = [Reading(client, job["id"]) for client in clients]
    for reading in readings:
        await reading.heard(5)
    gateway.send(number)
    await asyncio.to_thread(gateway.popen.wait, 30)
    mine = {"submitted": f"before {number.name}"}
    submitting = [client.submit(chat("sim-fast?tokens=1"), metadata=mine) for client in clients]
    submitted = asyncio.gather(*submitting)
    again = await asyncio.to_thread(restarted, stack, gateway)

    for client, reading in zip(clients, readings, strict=True):
        await check_saved(client, job["id"], await reading.end())
    ids = {other["id"] for other in await submitted}
    assert len(ids) == 2
    assert {found["id"] async for found in clients[0].list(metadata=mine)} == ids
    again.kill()


async def test_a_silent_connection_is_given_up_and_opened_again(
    connect: Connect, proxy: Proxy
) -> None:
    client = connect(proxy.url, silence_s=0.3)
    job = await client.submit(chat(STREAM))
    reading = Reading(client, job["id"])
    await reading.heard(5)
    proxy.hold()
    seen = len(proxy.requests)
    await until(lambda: len(proxy.requests) > seen)
    proxy.release()
    await check_saved(client, job["id"], await reading.end())


async def test_a_submit_whose_answer_is_lost_is_sent_again_and_makes_one_job(
    connect: Connect, proxy: Proxy
) -> None:
    client = connect(proxy.url)
    mine = {"lost": type(client).__name__}
    proxy.cut_after_request(b"/v1/jobs")
    job = await client.submit(chat("sim-fast?tokens=1"), metadata=mine)

    assert proxy.cuts == 1
    assert [found["id"] async for found in client.list(metadata=mine)] == [job["id"]]

    proxy.cut_after_request(b"/v1/jobs")
    many = await client.submit_many([{"request": chat("sim-fast?tokens=1"), "metadata": mine}] * 3)
    assert proxy.cuts == 2 and len(many) == 3
    assert len([found async for found in client.list(metadata=mine)]) == 4


async def test_patience_ends_and_the_error_bears_the_cursor(
    connect: Connect, address: str, proxy: Proxy
) -> None:
    patient, client = connect(address), connect(proxy.url, patience_s=0.3)
    job = await patient.submit(chat(STREAM))
    events: list[Event] = []
    with pytest.raises(ConnectionFailed) as failure:
        async for event in client.follow(job["id"]):
            events.append(event)
            if len(events) == 5:
                await proxy.down()
    with pytest.raises(ConnectionFailed, match=r"no answer from http://127\.0\.0\.1:\d+: "):
        await client.get(job["id"])

    assert failure.value.cursor == events[-1].id
    rest = [event async for event in patient.follow(job["id"], failure.value.cursor)]
    transcript = Transcript()
    for event in events + rest:
        transcript.apply(event)
    check_order(events + rest)
    await check_saved(patient, job["id"], transcript)


class Keyed(NamedTuple):
    """A gateway that wants keys, and two of them."""

    address: str
    reading: str
    slow: str


@pytest.fixture(scope="module")
def keyed(stack: Stack) -> Keyed:
    """One key may only read, the other has sixty requests a minute, ten of them at once."""
    create = "keys", "create", "test", "--json"
    command = Deltaworks(stack.folder / "home", **stack.env)
    reading = command(*create, "--scope", "jobs:read").json()["key"]
    slow = command(*create, "--per-minute", "60").json()["key"]
    return Keyed(address_of(stack.gateway("--port", "0")), reading, slow)


async def test_a_key_opens_and_no_key_and_a_wrong_one_do_not(
    connect: Connect, keyed: Keyed, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = keyed.reading
    wrong = key[:-1] + ("0" if key[-1] != "0" else "1")
    for client in (connect(keyed.address), connect(keyed.address, wrong)):
        for asking in (client.get("job_that_nobody_knows"), heard(client, "job_of_nobody")):
            with pytest.raises(Unauthorized) as refused:
                await asking
            assert refused.value.status == 401 and key[:-1] not in repr(refused.value)
    monkeypatch.setenv("DELTAWORKS_API_KEY", f"{key}\n")
    monkeypatch.setenv("DELTAWORKS_BASE_URL", f"{keyed.address}/v1/")
    client = connect()
    assert [job async for job in client.list(state="failed", lane="bulk")] == []
    with pytest.raises(Denied, match="jobs:write"):
        await client.submit(chat("sim"))


async def test_a_key_that_is_held_back_waits_or_says_for_how_long(
    connect: Connect, keyed: Keyed
) -> None:
    hasty = connect(keyed.address, keyed.slow, patience_s=0)
    with pytest.raises(RateLimited) as refused:
        for _ in range(100):
            assert [job async for job in hasty.list(lane="bulk")] == []
    assert refused.value.retry_after_s and 0 < refused.value.retry_after_s <= 1.1
    assert [job async for job in connect(keyed.address, keyed.slow).list(lane="bulk")] == []
