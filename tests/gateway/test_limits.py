"""What is too large, too slow, too many or not understood is refused, and said why."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.sse import frames_of
from tests.stack import Stack, address_of, chat
from tests.wire import until

pytestmark = pytest.mark.xdist_group("gateway limits")

FAST = "sim?tokens=10&rate=0&ttft=0"
MOST_BYTES = 20_000


@pytest.fixture(scope="module")
def narrow(workless: Stack) -> str:
    """The address of a gateway with low limits; nobody works behind it."""
    gateway = workless.gateway(
        DELTAWORKS_MAX_REQUEST_BYTES=str(MOST_BYTES),
        DELTAWORKS_BODY_TIMEOUT_S="1",
        DELTAWORKS_HEAD_TIMEOUT_S="1",
        DELTAWORKS_MAX_QUEUED="3",
    )
    return address_of(gateway)


@pytest.fixture
async def client(narrow: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=narrow, timeout=60) as client:
        yield client


def refused(answer: httpx.Response, status: int, word: str) -> None:
    assert answer.status_code == status, answer.text
    assert word in answer.json()["error"]["message"]


async def test_a_queue_that_is_full_says_when_to_come_again(client: httpx.AsyncClient) -> None:
    answers = [await client.post("/v1/jobs", json={"request": chat(FAST)}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [201, 201, 201, 429]
    refused(answers[-1], 429, "3 interactive jobs wait already")
    assert answers[-1].headers["retry-after"] == "5"
    chatted = await client.post("/v1/chat/completions", json=chat(FAST))
    refused(chatted, 429, "interactive")
    bulk = await client.post("/v1/jobs", json={"request": chat(FAST), "lane": "bulk"})
    assert bulk.status_code == 201
    first = answers[0].json()["id"]
    assert (await client.post(f"/v1/jobs/{first}/cancel")).json()["state"] == "cancelled"
    events = await client.get(f"/v1/jobs/{first}/events")
    assert [frame.event for frame in frames_of(events.content)] == ["cancelled"]

    async def accepted() -> bool:
        again = await client.post("/v1/jobs", json={"request": chat(FAST)})
        return again.status_code == 201

    await until(accepted)


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/chat/completions", "/v1/responses"])
async def test_a_body_that_is_too_large_is_refused_however_it_is_sent(
    client: httpx.AsyncClient, path: str
) -> None:
    json_type = {"content-type": "application/json"}
    body = json.dumps(chat(FAST, "x" * MOST_BYTES)).encode()

    async def unannounced() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 1000):
            yield body[start : start + 1000]

    for content in (body, unannounced()):
        answer = await client.post(path, content=content, headers=json_type)
        refused(answer, 413, "20,000 bytes")
        assert answer.json()["error"]["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("content", "headers", "status", "word"),
    [
        (b"{}", {}, 415, "content-type"),
        (b"{}", {"content-type": "text/plain"}, 415, "content-type"),
        (b"{}", {"content-type": "application/json", "content-encoding": "gzip"}, 415, "encoding"),
        (b"", {"content-type": "application/json"}, 400, "no JSON"),
        (b'{"request":', {"content-type": "application/json"}, 400, "character 11"),
        (b"\xff\xfe", {"content-type": "application/json"}, 400, "no JSON"),
        (b"[" * 9_000, {"content-type": "application/json"}, 400, "nests too deeply"),
        (b'"text"', {"content-type": "application/json"}, 400, "JSON object"),
    ],
)
async def test_a_body_that_is_not_understood_is_refused(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, word: str
) -> None:
    for path in ("/v1/jobs", "/v1/chat/completions", "/v1/responses"):
        refused(await client.post(path, content=content, headers=headers), status, word)


async def raw(address: str, *pieces: bytes) -> bytes:
    """All that is answered to these bytes; the client then says no more and waits for the end."""
    url = httpx.URL(address)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_a_body_that_does_not_come_is_not_waited_for(narrow: str) -> None:
    head = (
        b"POST /v1/jobs HTTP/1.1\r\nhost: here\r\ncontent-type: application/json\r\n"
        b"content-length: 100\r\nconnection: close\r\n\r\n{"
    )
    answer = await raw(narrow, head)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body took longer than 1 s" in answer


async def test_a_head_that_does_not_come_holds_no_connection(narrow: str) -> None:
    for piece in (b"", b"GET /healthz HT", b"GET /healthz HTTP/1.1\r\nhost: here\r\nx-slow: "):
        assert await raw(narrow, piece) == b""


async def test_a_head_that_is_too_large_is_refused(narrow: str) -> None:
    lines = (b"x-%d: %s\r\n" % (number, b"x" * 1000) for number in range(60))
    answer = await raw(narrow, b"GET /healthz HTTP/1.1\r\nhost: here\r\n", *lines)
    assert answer.startswith(b"HTTP/1.1 400 ") or answer == b""


async def test_other_sites_pages_are_given_nothing(client: httpx.AsyncClient) -> None:
    origin = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    asked = await client.options("/v1/jobs", headers=origin)
    answered = await client.get("/v1/jobs", headers=origin)
    assert asked.status_code == 405
    for answer in (asked, answered):
        assert not [name for name in answer.headers if name.startswith("access-control")]
