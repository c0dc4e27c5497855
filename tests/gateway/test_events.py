"""Live events over HTTP: what an EventSource sees, from any cursor, whatever was lost meanwhile."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any

import httpx
import pytest

from tests.proxy import Proxy
from tests.sse import Frame, Parser, frames, frames_of, text_of
from tests.stack import Reader, Stack, address_of, chat
from tests.wire import parse, until
from worker.channel.log import log_key

pytestmark = [
    pytest.mark.usefixtures("live"),
    pytest.mark.xdist_group("gateway events"),
]

FAST = "sim?tokens=30&rate=0&ttft=0"
MISSING = "job_000000000000000000000000"
SLOW = "sim?tokens=120&rate=60&ttft=0"


async def submitted(http: httpx.AsyncClient, model: str = FAST) -> str:
    answer = await http.post("/v1/jobs", json={"request": chat(model)})
    return str(answer.raise_for_status().json()["id"])


async def saved(http: httpx.AsyncClient, id: str) -> Any:
    """The job's text."""
    return (await http.get(f"/v1/jobs/{id}")).json()["output_text"]


async def heard(
    http: httpx.AsyncClient, path: str, at_most: int | None = None, after: str | None = None
) -> list[Frame]:
    """The events of one connection, which is dropped after so many; beyond a `Last-Event-ID`."""
    found: list[Frame] = []
    headers = {} if after is None else {"last-event-id": after}
    async with http.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        async with aclosing(frames(response.aiter_lines())) as coming:
            async for frame in coming:
                found.append(frame)
                if len(found) == at_most:
                    break
    return found


def refused(answer: httpx.Response, status: int, code: str) -> None:
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text


async def test_a_stream_is_what_an_event_source_and_a_proxy_expect(
    http: httpx.AsyncClient,
) -> None:
    id = await submitted(http, SLOW)
    parser = Parser()
    async with http.stream("GET", f"/v1/jobs/{id}/events") as response:
        found = [frame async for frame in frames(response.aiter_lines(), parser)]
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-cache, no-transform"
    assert response.headers["x-accel-buffering"] == "no"
    assert response.headers["x-deltaworks-job"] == id
    assert parser.retry_ms == 1_000
    assert (found[0].event, found[-1].event) == ("started", "completed")
    assert all(frame.data["id"] == frame.id for frame in found)
    assert text_of(found) == await saved(http, id)
    assert len(found) > 20


async def test_the_head_of_a_stream_is_not_waited_for(http: httpx.AsyncClient) -> None:
    id = await submitted(http, "sim?tokens=2000&rate=20&ttft=0")
    answer = await http.head(f"/v1/jobs/{id}/events", timeout=5)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    await http.post(f"/v1/jobs/{id}/cancel")


@pytest.mark.parametrize("logged", [True, False], ids=["from the log", "from the database"])
async def test_a_stream_goes_on_after_any_cursor_and_says_when_there_is_no_more(
    http: httpx.AsyncClient, reader: Reader, *, logged: bool
) -> None:
    id = await submitted(http, SLOW)
    whole = await heard(http, f"/v1/jobs/{id}/events")
    text, end = await saved(http, id), whole[-1]
    if not logged:
        await reader.log.erase(id)
    for place in (0, 1, len(whole) // 2, len(whole) - 2):
        start, cursor = whole[: place + 1], whole[place].id
        rest = await heard(http, f"/v1/jobs/{id}/events", after=cursor)
        assert text_of([*start, *rest]) == text
        assert (rest[-1].id, rest[-1].event) == (end.id, "completed")
        assert await heard(http, f"/v1/jobs/{id}/events?after={cursor}") == rest
    both = f"/v1/jobs/{id}/events?after={whole[0].id}"
    ended = await http.get(both, headers={"last-event-id": end.id})
    assert (ended.status_code, ended.content) == (204, b"")


async def test_a_cursor_in_the_middle_of_a_piece_is_answered_exactly_from_there(
    http: httpx.AsyncClient,
) -> None:
    id = await submitted(http)
    await heard(http, f"/v1/jobs/{id}/events")
    text = await saved(http, id)
    for offset in range(0, len(text), 7):
        rest = await heard(http, f"/v1/jobs/{id}/events?after=1-{offset}")
        assert text_of(rest) == text[offset:]


@pytest.mark.parametrize(
    "cursor", ["1", "x-1", "1-", "-1-1", "1-1-1", "9" * 40 + "-1", "1-2\u00b2"]
)
async def test_a_cursor_that_is_none_is_refused(http: httpx.AsyncClient, cursor: str) -> None:
    id = await submitted(http)
    answer = await http.get(f"/v1/jobs/{id}/events", params={"after": cursor})
    refused(answer, 400, "invalid_cursor")


async def test_a_cursor_that_nobody_can_have_is_refused_and_not_waited_for(
    http: httpx.AsyncClient,
) -> None:
    running, done = await submitted(http, "sim?tokens=400&rate=20&ttft=0"), await submitted(http)
    end = (await heard(http, f"/v1/jobs/{done}/events"))[-1].id
    await heard(http, f"/v1/jobs/{running}/events", 2)
    beyond = end.replace("1-", "1-9")
    for id, cursor in ((done, beyond), (done, "2-0"), (running, "2-0"), (running, "1-999999")):
        answer = await http.get(f"/v1/jobs/{id}/events", headers={"last-event-id": cursor})
        refused(answer, 400, "invalid_cursor")
        assert cursor in answer.json()["error"]["message"]
    await http.post(f"/v1/jobs/{running}/cancel")


async def test_a_reader_is_believed_whose_text_redis_has_lost_until_it_is_back(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    id = await submitted(http, "sim?tokens=60&rate=10&ttft=0")
    start = await heard(http, f"/v1/jobs/{id}/events", 8)
    # As after a failover to a replica that had not got the last entries yet.
    entries: Any = await reader.redis.xrange(log_key(id))
    async with reader.redis.pipeline() as pipe:
        pipe.delete(log_key(id))
        for place, fields in entries[:3]:
            pipe.xadd(log_key(id), fields, id=place)
        await pipe.execute()
    rest = await heard(http, f"/v1/jobs/{id}/events", after=start[-1].id)
    assert text_of([*start, *rest]) == await saved(http, id)
    assert "started" not in [frame.event for frame in rest]


async def test_a_silent_stream_says_that_it_is_still_there(http: httpx.AsyncClient) -> None:
    id = await submitted(http, "sim?tokens=2&rate=0&ttft=6")
    parser = Parser()
    async with http.stream("GET", f"/v1/jobs/{id}/events") as response:
        found = [frame async for frame in frames(response.aiter_lines(), parser)]
    assert parser.comments >= 2
    assert found[-1].event == "completed"


async def test_an_attempt_given_up_is_told_and_its_text_is_void(http: httpx.AsyncClient) -> None:
    id = await submitted(http, "sim?tokens=30&rate=300&ttft=0&fault=cut-eof&vary=1")
    found = await heard(http, f"/v1/jobs/{id}/events")
    kinds = [frame.event for frame in found]
    assert kinds.count("started") == 2 and "retrying" in kinds
    assert text_of(found) == await saved(http, id)


async def test_several_jobs_share_a_connection_and_resume_together(
    http: httpx.AsyncClient,
) -> None:
    ids = [await submitted(http, SLOW), await submitted(http), await submitted(http, SLOW)]
    path = f"/v1/events?jobs={','.join(ids)}"
    start = await heard(http, path, 60)
    rest = await heard(http, path, after=start[-1].id)
    for id in ids:
        mine = [frame for frame in [*start, *rest] if frame.data["job"] == id]
        assert text_of(mine) == await saved(http, id)
        assert mine[-1].event == "completed"
    ended = await http.get(path, headers={"last-event-id": rest[-1].id})
    assert ended.status_code == 204


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, "invalid_value"),
        ("jobs=" + ",".join(f"job_{number:024d}" for number in range(51)), 400, "invalid_value"),
        (f"jobs={MISSING}", 404, "not_found"),
        (f"jobs={MISSING}&after={MISSING}:7", 400, "invalid_cursor"),
    ],
)
async def test_a_question_for_several_jobs_names_what_is_wrong(
    http: httpx.AsyncClient, query: str, status: int, code: str
) -> None:
    refused(await http.get(f"/v1/events?{query}"), status, code)


@contextmanager
def connected(address: str, id: str) -> Iterator[socket.socket]:
    """A connection for the job's events that has room for little."""
    url = httpx.URL(address)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Small segments keep the sender's buffer small, too.
        slow.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        slow.connect((url.host, url.port))
        head = f"GET /v1/jobs/{id}/events HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n"
        slow.sendall(head.encode())
        slow.settimeout(30)
        yield slow


async def all_of(slow: socket.socket) -> bytes:
    """What comes over the connection, to its end, or until it is broken off."""
    received = bytearray()
    with suppress(ConnectionResetError):
        while piece := await asyncio.to_thread(slow.recv, 65_536):
            received += piece
    return bytes(received)


async def test_a_reader_that_takes_nothing_holds_up_nobody_and_misses_nothing(
    workless: Stack, http: httpx.AsyncClient
) -> None:
    id = await submitted(http, "sim?tokens=3000&rate=1500&ttft=0")
    with connected(workless.address, id) as slow:
        quick = await heard(http, f"/v1/jobs/{id}/events")
        assert text_of(quick) == await saved(http, id)
        reply = parse(await all_of(slow), "cut")
    assert (reply.status, reply.end) == (200, "whole")
    assert text_of(frames_of(reply.body)) == text_of(quick)


async def test_a_reader_that_takes_nothing_for_too_long_is_cut_off_and_resumes(
    live: Stack, http: httpx.AsyncClient
) -> None:
    gateway = await asyncio.to_thread(live.gateway, DELTAWORKS_SLOW_READER_S="0.5")
    id = await submitted(http, "sim?tokens=120000&rate=0&ttft=0")
    with connected(address_of(gateway), id) as slow:
        await until(lambda: "is cut off" in gateway.printed())
        reply = parse(await all_of(slow), "cut")
    gateway.kill()
    # The last frame may have been cut in the middle.
    body = reply.body[: reply.body.rindex(b"\n\n") + 2]
    seen = frames_of(body)
    rest = await heard(http, f"/v1/jobs/{id}/events", after=seen[-1].id)
    assert reply.end == "cut" and seen[-1].event != "completed"
    assert text_of([*seen, *rest]) == await saved(http, id)


async def test_readers_outlive_a_redis_that_is_away(live: Stack, http: httpx.AsyncClient) -> None:
    async with Proxy(live.env["DELTAWORKS_REDIS_URL"]) as proxy:
        gateway = await asyncio.to_thread(live.gateway, DELTAWORKS_REDIS_URL=proxy.url)
        async with httpx.AsyncClient(base_url=address_of(gateway), timeout=60) as through:
            id = await submitted(http, "sim?tokens=100&rate=30&ttft=0")
            path = f"/v1/jobs/{id}/events"
            seen: list[Frame] = []
            async with through.stream("GET", path) as response:
                async for frame in frames(response.aiter_lines()):
                    seen.append(frame)
                    if len(seen) == 10:
                        await proxy.down()
                        await asyncio.sleep(0.5)
                        await proxy.up()
        gateway.kill()
    assert text_of(seen) == await saved(http, id)
    assert seen[-1].event == "completed"


async def test_a_gateway_that_ends_says_so_and_the_next_one_goes_on(
    live: Stack, http: httpx.AsyncClient
) -> None:
    id = await submitted(http, "sim?tokens=100&rate=25&ttft=0")
    gateway = await asyncio.to_thread(live.gateway)
    seen: list[Frame] = []
    async with (
        httpx.AsyncClient(base_url=address_of(gateway), timeout=60) as doomed,
        doomed.stream("GET", f"/v1/jobs/{id}/events") as response,
    ):
        async for frame in frames(response.aiter_lines()):
            seen.append(frame)
            if len(seen) == 5:
                gateway.popen.terminate()
    *start, complaint = seen
    assert (complaint.event, complaint.data["error"]["code"]) == ("error", "server_ends")
    assert await asyncio.to_thread(gateway.popen.wait, 30) == 0
    rest = await heard(http, f"/v1/jobs/{id}/events", after=start[-1].id)
    assert text_of([*start, *rest]) == await saved(http, id)


async def test_readers_of_one_job_cost_redis_one_subscription(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    id = await submitted(http, "sim?tokens=60&rate=20&ttft=0")
    readings = [asyncio.create_task(heard(http, f"/v1/jobs/{id}/events")) for _ in range(20)]

    async def one() -> bool:
        return bool((await reader.redis.pubsub_numsub(f"deltaworks:{{{id}}}"))[0][1])

    await until(one)
    assert (await reader.redis.pubsub_numsub(f"deltaworks:{{{id}}}"))[0][1] == 1
    texts = {text_of(found) for found in await asyncio.gather(*readings)}
    assert texts == {await saved(http, id)}
