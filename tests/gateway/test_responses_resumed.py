"""A response's stream that breaks off goes on by its number, whoever died, and whenever it is."""

import asyncio
from collections.abc import AsyncIterable, Sequence
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.responses import accumulated
from tests.stack import Process, Reader, Stack, address_of, ground_truth
from tests.wire import until

pytestmark = pytest.mark.xdist_group("gateway responses resumed")

SHORT = {"DELTAWORKS_LEASE_S": "1", "DELTAWORKS_RENEW_S": "0.3"}
RETRIED = "sim?tokens=30&rate=300&ttft=0&fault=cut-eof&vary=1"


@pytest.fixture(scope="module")
def worker(workless: Stack) -> Process:
    """The worker of most of the tests; the one that kills it leaves another."""
    return workless.sweeping_worker(**SHORT)


async def all_of(stream: AsyncIterable[Any]) -> list[dict[str, Any]]:
    """The stream's events, to its end."""
    return [event.to_dict() async for event in stream]


async def some_of(stream: Any, deltas: int) -> list[dict[str, Any]]:
    """The stream's events up to so many deltas; then the connection is dropped."""
    events: list[dict[str, Any]] = []
    async for event in stream:
        events.append(event.to_dict())
        if sum(each["type"].endswith("delta") for each in events) == deltas:
            break
    await stream.close()
    return events


async def rest_of(openai: AsyncOpenAI, seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the stream goes on with."""
    id, number = seen[0]["response"]["id"], seen[-1]["sequence_number"]
    return await all_of(await openai.responses.retrieve(id, stream=True, starting_after=number))


def skeleton(events: Sequence[dict[str, Any]]) -> list[tuple[object, ...]]:
    """What is the same from the database, however long ago it was."""
    return [
        (e["type"], e["sequence_number"], e.get("output_index"), e.get("item", {}).get("id"))
        for e in events
        if not e["type"].endswith("delta")
    ]


def text_of(events: Sequence[dict[str, Any]]) -> dict[str, str]:
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] == "response.output_text.delta":
            texts[event["item_id"]] = texts.get(event["item_id"], "") + event["delta"]
    return texts


def assert_whole(events: Sequence[dict[str, Any]], text: str) -> None:
    """The events are one stream, legal for OpenAI's client, and come to this text."""
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    assert accumulated(events).output_text == text
    assert list(text_of(events).values())[-1] == text


async def forgotten(reader: Reader, id: str) -> None:
    """As days later: the log is gone, and only the database knows."""
    await reader.log.erase(id.replace("resp_", "job_"))


async def test_a_dropped_connection_is_resumed_without_a_gap(
    worker: Process, openai: AsyncOpenAI, reader: Reader, workless: Stack
) -> None:
    stream = await openai.responses.create(
        model="sim?tokens=60&rate=60&ttft=0", input="hello", background=True, stream=True
    )
    seen = await some_of(stream, 10)
    seen += await some_of(
        await openai.responses.retrieve(
            seen[0]["response"]["id"], stream=True, starting_after=seen[-1]["sequence_number"]
        ),
        10,
    )
    seen += await rest_of(openai, seen)
    id = seen[0]["response"]["id"]
    text = ground_truth(workless.record()[-1])
    assert_whole(seen, text)

    whole = await all_of(await openai.responses.retrieve(id, stream=True))
    assert_whole(whole, text)
    assert skeleton(whole) == skeleton(seen)
    await forgotten(reader, id)
    later = await all_of(await openai.responses.retrieve(id, stream=True))
    assert_whole(later, text)
    assert skeleton(later) == skeleton(seen)
    for place in (0, 5, len(seen) // 2, len(seen) - 2):
        joined = [*seen[: place + 1], *await rest_of(openai, seen[: place + 1])]
        assert_whole(joined, text)
    assert await rest_of(openai, seen) == []
    place = seen[9]["sequence_number"]
    async with openai.responses.stream(response_id=id, starting_after=place) as accumulating:
        numbers = [event.sequence_number async for event in accumulating]
        found = await accumulating.get_final_response()
    assert found.output_text == text and numbers[0] > place
    beyond = seen[-1]["sequence_number"] + 64
    with pytest.raises(Exception, match="starting_after"):
        await openai.responses.retrieve(id, stream=True, starting_after=beyond)


async def test_text_that_was_shown_and_is_void_is_closed_as_incomplete(
    worker: Process, openai: AsyncOpenAI, reader: Reader
) -> None:
    async with openai.responses.stream(model=RETRIED, input="hello") as stream:
        items: Any = [e.item async for e in stream if e.type == "response.output_item.done"]
        found = await stream.get_final_response()
    message: Any = found.output[0]
    done = [item.to_dict() for item in items]
    assert [item["status"] for item in done] == ["incomplete", "completed"]
    assert done[0]["content"][0]["text"] != found.output_text
    assert len(found.output) == 1 and done[1]["id"] == message.id

    live = await all_of(await openai.responses.retrieve(found.id, stream=True))
    assert_whole(live, found.output_text)
    assert next(iter(text_of(live).values())) == done[0]["content"][0]["text"]
    await forgotten(reader, found.id)
    later = await all_of(await openai.responses.retrieve(found.id, stream=True))
    assert_whole(later, found.output_text)
    assert skeleton(later) == skeleton(live)
    assert set(text_of(later)) == {message.id}


async def test_a_gateway_that_is_killed_is_followed_by_one_that_goes_on(
    worker: Process, openai: AsyncOpenAI, workless: Stack
) -> None:
    doomed = await asyncio.to_thread(workless.gateway)
    async with AsyncOpenAI(base_url=f"{address_of(doomed)}/v1", api_key="x") as client:
        stream = await client.responses.create(
            model="sim?tokens=60&rate=60&ttft=0", input="hi", background=True, stream=True
        )
        seen: list[dict[str, Any]] = []
        with pytest.raises(Exception, match=r"peer closed|incomplete|Connection"):
            async for event in stream:
                seen.append(event.to_dict())
                if len(seen) == 10:
                    doomed.kill()
    seen += await rest_of(openai, seen)
    assert_whole(seen, ground_truth(workless.record()[-1]))


async def test_a_stream_that_a_gateway_ends_says_so(worker: Process, workless: Stack) -> None:
    ending = await asyncio.to_thread(workless.gateway)
    async with AsyncOpenAI(base_url=f"{address_of(ending)}/v1", api_key="x") as client:
        stream = await client.responses.create(
            model="sim?tokens=60&rate=60&ttft=0", input="hi", background=True, stream=True
        )
        events: list[dict[str, Any]] = []
        async for event in stream:
            events.append(event.to_dict())
            if len(events) == 10:
                ending.popen.terminate()
    assert (events[-1]["type"], events[-1]["code"]) == ("error", "server_ends")


async def test_a_killed_workers_text_is_void_and_the_next_ones_stands(
    worker: Process, openai: AsyncOpenAI, reader: Reader, workless: Stack
) -> None:
    stream = await openai.responses.create(
        model="sim?tokens=80&rate=100&ttft=0&vary=1", input="doomed", background=True, stream=True
    )
    events: list[dict[str, Any]] = []
    async for event in stream:
        events.append(event.to_dict())
        if len(events) == 12:
            worker.kill()
            await asyncio.to_thread(workless.sweeping_worker, **SHORT)
    id = events[0]["response"]["id"]
    text = ground_truth(workless.record()[-1])
    assert_whole(events, text)
    first, last = text_of(events).values()
    assert first and first != last == text

    async def recorded() -> bool:
        rows = await reader.store.jobs.attempts(id.replace("resp_", "job_"))
        return [row.error_code for row in rows] == ["lost", None]

    await until(recorded)
    rows = await reader.store.jobs.attempts(id.replace("resp_", "job_"))
    assert rows[0].length == len(first) and rows[0].started_at < rows[0].finished_at
    await forgotten(reader, id)
    later = await all_of(await openai.responses.retrieve(id, stream=True))
    assert_whole(later, text)
    assert skeleton(later) == skeleton(events)
