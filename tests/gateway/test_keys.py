"""Who may do what: keys, scopes, models, rates, and tenants that never meet."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import httpx
import pytest

from tests.sse import frames_of, text_of
from tests.stack import Reader, Stack, address_of, chat
from tests.wire import until
from worker.access import digest_of

pytestmark = pytest.mark.xdist_group("gateway keys")

FAST = "sim?tokens=10&rate=0&ttft=0"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


class Key(NamedTuple):
    """A key that was made, and a client that sends it."""

    id: str
    secret: str
    http: httpx.AsyncClient


MakeKey = Callable[..., Any]


@pytest.fixture(scope="module")
def guarded(live: Stack) -> str:
    """The address of a gateway that wants keys."""
    return address_of(live.gateway("--port", "0"))


@pytest.fixture
async def make_key(live: Stack, guarded: str) -> AsyncIterator[MakeKey]:
    """Makes a key by the command line, as its user does."""
    async with AsyncExitStack() as stack:

        async def make(*options: str) -> Key:
            words = ("keys", "create", "test", "--json", *options)
            made = live.start("keys", "-m", "worker.cli", *words)
            assert await asyncio.to_thread(made.popen.wait, 60) == 0, made.printed()
            found = json.loads(made.printed().splitlines()[-1])
            client = httpx.AsyncClient(
                base_url=guarded, headers={"authorization": f"Bearer {found['key']}"}, timeout=60
            )
            return Key(found["id"], found["key"], await stack.enter_async_context(client))

        yield make


async def submitted(key: Key, model: str = FAST) -> str:
    answer = await key.http.post("/v1/jobs", json={"request": chat(model)})
    return str(answer.raise_for_status().json()["id"])


def refused(answer: httpx.Response, status: int, word: str) -> None:
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert word in error["message"]


@pytest.mark.parametrize(
    "given",
    [
        None,
        "",
        "Bearer",
        "Basic ZGV2OmRldg==",
        "Bearer sk-canary-key-0123456789",
        "Bearer dw_0000000000000000000000000000000000000000000000000",
    ],
)
async def test_without_a_key_nothing_is_answered(guarded: str, given: str | None) -> None:
    headers = {} if given is None else {"authorization": given}
    async with httpx.AsyncClient(base_url=guarded, headers=headers) as client:
        for method, path in (
            ("GET", "/v1/jobs"),
            ("POST", "/v1/jobs"),
            ("GET", "/v1/models"),
            ("POST", "/v1/chat/completions"),
            ("POST", "/v1/responses"),
            ("GET", "/v1/jobs/job_1/events?token=dwr_job_1.9999999999.none"),
        ):
            answer = await client.request(method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            refused(answer, 401, "key")
        assert (await client.get("/healthz")).status_code == 200


async def test_a_key_opens_everything_and_is_kept_only_as_its_digest(
    live: Stack, make_key: MakeKey, reader: Reader
) -> None:
    key = await make_key()
    id = await submitted(key)
    events = await key.http.get(f"/v1/jobs/{id}/events")
    assert text_of(frames_of(events.content))
    (row,) = [each for each in await reader.store.keys.all() if each.id == key.id]
    assert (row.digest, row.last4) == (digest_of(key.secret), key.secret[-4:])
    printed = "".join(text for name, text in live.printed().items() if "keys" not in name)
    assert key.secret not in printed


async def test_a_key_that_was_revoked_or_has_expired_opens_nothing(
    live: Stack, make_key: MakeKey
) -> None:
    # 0.1 s; a key that was never used is not remembered.
    expired, revoked = await make_key("--days", "0.000001"), await make_key()
    words = ("-m", "worker.cli", "keys", "revoke", revoked.id)
    assert await asyncio.to_thread(live.start("revoke", *words).popen.wait, 60) == 0
    for key in (expired, revoked):
        refused(await key.http.get("/v1/jobs"), 401, "revoked or expired; use one that stands")


async def test_moments_of_a_key_are_written_as_those_of_a_job(
    live: Stack, make_key: MakeKey
) -> None:
    key = await make_key("--days", "1")
    listing = live.start("keys", "-m", "worker.cli", "keys", "list", "--json")
    assert await asyncio.to_thread(listing.popen.wait, 60) == 0, listing.printed()
    listed = json.loads(listing.printed().splitlines()[-1])
    (found,) = [each for each in listed if each["id"] == key.id]
    job = (await key.http.get(f"/v1/jobs/{await submitted(key)}")).json()
    for moment in (found["created_at"], found["expires_at"], job["created_at"]):
        assert MOMENT.fullmatch(moment), moment


async def test_a_scope_that_a_key_lacks_is_named(make_key: MakeKey) -> None:
    reading = await make_key("--scope", "jobs:read")
    writing = await make_key("--scope", "jobs:write")
    id = await submitted(writing)
    refused(await writing.http.get(f"/v1/jobs/{id}"), 403, "jobs:read")
    refused(await writing.http.get(f"/v1/jobs/{id}/events"), 403, "jobs:read")
    assert (await reading.http.get(f"/v1/jobs/{id}")).status_code == 200
    for method, path in (
        ("POST", "/v1/jobs"),
        ("POST", f"/v1/jobs/{id}/cancel"),
        ("DELETE", f"/v1/jobs/{id}"),
        ("POST", "/v1/chat/completions"),
        ("POST", "/v1/responses"),
    ):
        refused(await reading.http.request(method, path), 403, "jobs:write")


async def test_a_tenants_ids_open_nothing_to_another(make_key: MakeKey) -> None:
    ours, theirs = await make_key("--tenant", "ours"), await make_key("--tenant", "theirs")
    id = await submitted(theirs)
    created = await theirs.http.post("/v1/responses", json={"model": FAST, "input": "hello"})
    response = created.json()["id"]
    wholly: Sequence[tuple[str, str]] = (
        ("GET", f"/v1/jobs/{id}"),
        ("DELETE", f"/v1/jobs/{id}"),
        ("POST", f"/v1/jobs/{id}/cancel"),
        ("POST", f"/v1/jobs/{id}/retry"),
        ("POST", f"/v1/jobs/{id}/token"),
        ("GET", f"/v1/jobs/{id}/events"),
        ("GET", f"/v1/events?jobs={id}"),
        ("GET", f"/v1/jobs?after={id}"),
        ("GET", f"/v1/responses/{response}"),
        ("GET", f"/v1/responses/{response}?stream=true"),
        ("GET", f"/v1/responses/{response}/input_items"),
        ("POST", f"/v1/responses/{response}/cancel"),
        ("DELETE", f"/v1/responses/{response}"),
    )
    for method, path in wholly:
        refused(await ours.http.request(method, path), 404, "no ")
    assert (await ours.http.get("/v1/jobs")).json()["data"] == []
    again = await ours.http.post(
        "/v1/responses",
        json={"model": FAST, "input": "go on", "previous_response_id": response},
    )
    refused(again, 400, response)
    assert (await theirs.http.get(f"/v1/jobs/{id}")).json()["state"] in ("queued", "completed")


async def test_an_idempotency_key_is_a_tenants_own(make_key: MakeKey) -> None:
    ours, theirs = await make_key("--tenant", "one"), await make_key("--tenant", "two")
    headers = {"idempotency-key": "the same"}
    found = {
        (await key.http.post("/v1/jobs", json={"request": chat(FAST, said)}, headers=headers))
        .raise_for_status()
        .json()["id"]
        for key, said in ((ours, "one"), (theirs, "two"))
    }
    assert len(found) == 2


async def test_a_key_uses_only_its_models(make_key: MakeKey) -> None:
    key = await make_key("--model", "sim-fast", "--model", "sim?tokens=1*")
    await submitted(key)
    for path, document in (
        ("/v1/jobs", {"request": chat("sim-slow")}),
        ("/v1/chat/completions", chat("sim-slow")),
        ("/v1/responses", {"model": "sim-slow", "input": "hello"}),
    ):
        refused(await key.http.post(path, json=document), 403, "sim-slow")
    many = await key.http.post("/v1/jobs", json={"jobs": [{"request": chat("sim-slow")}]})
    assert many.json()["data"][0]["error"]["code"] == "permission_denied"
    listed = (await key.http.get("/v1/models")).json()["data"]
    assert [model["id"] for model in listed] == ["sim-fast"]


async def test_a_key_tries_again_only_what_it_may_use(make_key: MakeKey) -> None:
    key, other = await make_key("--model", "sim-fast"), await make_key()
    id = await submitted(other)
    await other.http.get(f"/v1/jobs/{id}/events")  # to its end
    refused(await key.http.post(f"/v1/jobs/{id}/retry"), 403, "may not use")
    assert (await other.http.post(f"/v1/jobs/{id}/retry")).status_code == 201


async def test_a_row_of_a_batch_uses_only_the_models_of_its_key(make_key: MakeKey) -> None:
    key = await make_key("--model", "sim?tokens=1*")
    rows = [
        {"custom_id": model, "url": "/v1/chat/completions", "body": chat(model)}
        for model in (FAST, "sim-slow")
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    file = await key.http.post(
        "/v1/files", files={"file": ("rows.jsonl", content)}, data={"purpose": "batch"}
    )
    document = {"input_file_id": file.json()["id"], "endpoint": "/v1/chat/completions"}
    made = await key.http.post("/v1/batches", json={**document, "mixed_models": True})
    id = made.raise_for_status().json()["id"]
    found: dict[str, Any] = {}

    async def is_read_in() -> bool:
        found.update((await key.http.get(f"/v1/batches/{id}")).json())
        return bool(found["status"] != "validating")

    await until(is_read_in)
    (fault,) = found["errors"]["data"]
    assert (found["status"], fault["line"], fault["code"]) == ("failed", 2, "permission_denied")
    assert "may not use 'sim-slow'" in fault["message"] and fault["param"] == "body.model"


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(make_key: MakeKey) -> None:
    key, other = await make_key("--per-minute", "12"), await make_key()
    answers = [await key.http.get("/v1/jobs") for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    refused(answers[2], 429, "12 requests a minute")
    assert 1 <= int(answers[2].headers["retry-after"]) <= 5
    assert 0 < int(answers[2].headers["retry-after-ms"]) <= 5_000
    assert (await other.http.get("/v1/jobs")).status_code == 200


async def test_a_read_token_opens_the_events_of_one_job_for_a_while(
    make_key: MakeKey, guarded: str
) -> None:
    key = await make_key()
    id, other = await submitted(key), await submitted(key)
    given = (await key.http.post(f"/v1/jobs/{id}/token", json={"expires_in_s": 60})).json()
    brief = (await key.http.post(f"/v1/jobs/{id}/token", json={"expires_in_s": 1})).json()
    assert abs(given["expires_at"] - time.time() - 60) < 10
    async with httpx.AsyncClient(base_url=guarded, timeout=60) as browser:
        found = frames_of((await browser.get(given["url"])).content)
        assert found[-1].event == "completed"
        token = given["token"]
        for path in (
            f"/v1/jobs/{other}/events?token={token}",
            f"/v1/jobs/{id}?token={token}",
            f"/v1/jobs/{id}/events?token={token}0",
            f"/v1/events?jobs={id}&token={token}",
        ):
            assert (await browser.get(path)).status_code == 401, path
        async with asyncio.timeout(10):
            while (await browser.get(brief["url"])).status_code != 401:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


@pytest.mark.parametrize(
    ("life_s", "said"),
    [(0, "0"), (86_401, "86401"), ("60", "'60'"), (True, "true"), (None, "null")],
)
async def test_a_token_without_a_proper_life_is_refused(
    make_key: MakeKey, life_s: object, said: str
) -> None:
    key = await make_key()
    id = await submitted(key)
    answer = await key.http.post(f"/v1/jobs/{id}/token", json={"expires_in_s": life_s})
    refused(answer, 400, f"expires_in_s: is {said}; give 1 to 86400")
