"""The native API of jobs, over a real worker."""

import asyncio
from typing import Any

import httpx
import pytest

from tests.proxy import Proxy
from tests.sse import Frame, frames_of, text_of
from tests.stack import Reader, Stack, address_of, chat, ground_truth
from tests.wire import until

pytestmark = [
    pytest.mark.usefixtures("live"),
    pytest.mark.xdist_group("gateway native jobs"),
]

FAST = "sim?tokens=20&rate=0&ttft=0"
SLOW = "sim?tokens=200&rate=40&ttft=0"


async def submitted(http: httpx.AsyncClient, model: str = FAST, **fields: object) -> str:
    """A new job's id."""
    document = {"request": chat(model), **fields}
    answer = await http.post("/v1/jobs", json=document)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def shown(http: httpx.AsyncClient, id: str) -> dict[str, Any]:
    answer = await http.get(f"/v1/jobs/{id}")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ended(http: httpx.AsyncClient, id: str) -> dict[str, Any]:
    """The job once it has ended; its events say when."""
    await all_frames(http, id)
    return await shown(http, id)


async def all_frames(http: httpx.AsyncClient, id: str, **headers: str) -> list[Frame]:
    answer = await http.get(f"/v1/jobs/{id}/events", headers=headers)
    assert answer.status_code == 200, answer.text
    return frames_of(answer.content)


async def begun(http: httpx.AsyncClient, id: str) -> None:
    """Wait until some of the job's text can be seen."""

    async def speaks() -> bool:
        return bool((await shown(http, id))["output_text"])

    await until(speaks)


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    """The answer is an error of the one shape, and names what is wrong."""
    error = answer.json()["error"]
    assert answer.status_code == status, answer.text
    assert set(error) == {"message", "type", "param", "code"}
    for word in words:
        assert word in error["message"]


async def test_a_job_is_accepted_runs_and_is_shown_with_its_text(
    live: Stack, http: httpx.AsyncClient
) -> None:
    answer = await http.post(
        "/v1/jobs", json={"request": chat(FAST), "lane": "bulk", "metadata": {"who": "me"}}
    )
    job = answer.json()
    assert (answer.status_code, answer.headers["x-deltaworks-job"]) == (201, job["id"])
    assert (job["object"], job["state"], job["lane"]) == ("job", "queued", "bulk")
    found = await ended(http, job["id"])
    served = [each for each in live.record() if each["job"] == job["id"]]
    assert [found["output_text"]] == [ground_truth(each) for each in served]
    assert (found["state"], found["metadata"]) == ("completed", {"who": "me"})
    assert found["usage"]["completion_tokens"] == 20


async def test_an_idempotency_key_names_one_job(http: httpx.AsyncClient) -> None:
    key = {"idempotency-key": "order-17"}
    answers = [
        await http.post("/v1/jobs", json={"request": chat(FAST)}, headers=key) for _ in range(2)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    other = await http.post("/v1/jobs", json={"request": chat(FAST, "else")}, headers=key)
    refused(other, 409, "order-17")


async def test_one_call_submits_many_and_says_of_each_what_became_of_it(
    http: httpx.AsyncClient,
) -> None:
    jobs = [
        {"request": chat(FAST), "metadata": {"row": "0"}},
        {"request": {"model": FAST}},
        {"request": chat(FAST), "lane": "fast"},
        {"request": chat(FAST), "metadata": {"row": "3"}},
    ]
    answer = await http.post("/v1/jobs", json={"jobs": jobs})
    first, *wrong, last = answer.json()["data"]
    assert answer.status_code == 200
    assert [job["metadata"]["row"] for job in (first, last)] == ["0", "3"]
    assert [each["object"] for each in wrong] == ["error", "error"]
    assert [each["error"]["param"] for each in wrong] == ["messages", "lane"]
    assert (await ended(http, last["id"]))["state"] == "completed"


@pytest.mark.parametrize(
    ("document", "headers", "word"),
    [
        ({"jobs": []}, {}, "jobs: is a list of 0; give a list of 1 to 1,000"),
        ({"jobs": [{}] * 1_001}, {}, "1,000"),
        ({"jobs": "all"}, {}, "jobs: is 'all'"),
        ({"jobs": [{}], "lane": "bulk"}, {}, "lane"),
        ({"jobs": [{}]}, {"idempotency-key": "one"}, "idempotency-key"),
        ([], {}, "body"),
        ({"request": chat(FAST), "base_url": "http://elsewhere"}, {}, "base_url"),
        ({"request": chat(FAST), "deadline_s": -1}, {}, "deadline_s"),
        ({"request": chat(FAST), "scheduled_at": "tomorrow"}, {}, "scheduled_at"),
        ({"request": chat(FAST), "metadata": {"a": 1}}, {}, "metadata"),
        ({"request": chat(FAST), "webhook": "http://10.0.0.1/"}, {}, "webhook"),
    ],
    ids=lambda value: next(iter(value), "") if isinstance(value, dict) else None,
)
async def test_a_field_that_is_wrong_is_named_and_nothing_is_stored(
    http: httpx.AsyncClient, document: Any, headers: dict[str, str], word: str
) -> None:
    before = (await http.get("/v1/jobs?limit=1")).json()["data"]
    refused(await http.post("/v1/jobs", json=document, headers=headers), 400, word)
    assert (await http.get("/v1/jobs?limit=1")).json()["data"] == before


async def test_pages_show_each_job_once_newest_first_while_others_come(
    http: httpx.AsyncClient,
) -> None:
    mine = [await submitted(http, metadata={"page": "me"}) for _ in range(7)]
    found: list[str] = []
    query: dict[str, str] = {"metadata[page]": "me", "limit": "3"}
    more = True
    while more:
        page = (await http.get("/v1/jobs", params=query)).json()
        found += [job["id"] for job in page["data"]]
        more = page["has_more"]
        query["after"] = found[-1]
        await submitted(http, metadata={"page": "me"})
    assert found == mine[::-1]


async def test_a_listing_is_narrowed_by_state_and_lane(http: httpx.AsyncClient) -> None:
    done, bulk = await submitted(http), await submitted(http, lane="bulk")
    later = await submitted(http, scheduled_at="2126-01-01T00:00:00Z", lane="bulk")
    await ended(http, done)
    await ended(http, bulk)

    async def listed(query: str) -> list[str]:
        answer = await http.get(f"/v1/jobs?limit=100&{query}")
        return [job["id"] for job in answer.json()["data"] if job["id"] in (done, bulk, later)]

    assert await listed("state=completed") == [bulk, done]
    assert await listed("lane=bulk") == [later, bulk]
    assert await listed("lane=bulk&state=queued&state=completed") == [later, bulk]
    assert await listed("state=failed,cancelled") == []


@pytest.mark.parametrize(
    ("query", "status", "word"),
    [
        ("limit=0", 400, "limit"),
        ("limit=many", 400, "limit"),
        ("state=done", 400, "state"),
        ("lane=fast", 400, "lane"),
        ("after=job_000000000000000000000000", 404, "job_000000000000000000000000"),
    ],
)
async def test_a_listing_names_what_it_does_not_understand(
    http: httpx.AsyncClient, query: str, status: int, word: str
) -> None:
    refused(await http.get(f"/v1/jobs?{query}"), status, word)


async def test_a_running_job_shows_its_text_so_far_and_where_its_events_go_on(
    http: httpx.AsyncClient,
) -> None:
    id = await submitted(http, SLOW)
    await begun(http, id)
    seen = await shown(http, id)
    rest = await all_frames(http, id, **{"last-event-id": seen["cursor"]})
    found = await shown(http, id)
    assert seen["state"] == "in_progress" and seen["output_text"] != found["output_text"]
    assert seen["output_text"] + text_of(rest) == found["output_text"]


async def test_a_running_job_is_cancelled_at_once_and_its_upstream_is_let_go(
    live: Stack, http: httpx.AsyncClient
) -> None:
    id = await submitted(http, SLOW)
    await begun(http, id)
    answer = await http.post(f"/v1/jobs/{id}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert (await all_frames(http, id))[-1].event == "cancelled"

    def let_go() -> bool:
        (served,) = (each for each in live.record() if each["job"] == id)
        return bool(served["end"] == "client")

    await until(let_go)
    again = await http.post(f"/v1/jobs/{id}/cancel")
    assert (again.status_code, again.json()["state"]) == (200, "cancelled")


async def test_a_job_that_has_ended_is_tried_again_as_another(http: httpx.AsyncClient) -> None:
    first = await submitted(http, lane="bulk", metadata={"a": "b"})
    await ended(http, first)
    key = {"idempotency-key": "again"}
    answers = [await http.post(f"/v1/jobs/{first}/retry", headers=key) for _ in range(2)]
    second = answers[0].json()
    assert answers[0].status_code == 201 and answers[1].json()["id"] == second["id"] != first
    assert (second["retry_of"], second["lane"], second["metadata"]) == (first, "bulk", {"a": "b"})
    assert (await ended(http, second["id"]))["state"] == "completed"


async def test_a_job_that_runs_is_neither_tried_again_nor_erased(http: httpx.AsyncClient) -> None:
    id = await submitted(http, SLOW)
    await begun(http, id)
    refused(await http.post(f"/v1/jobs/{id}/retry"), 409, id, "in_progress")
    refused(await http.delete(f"/v1/jobs/{id}"), 409, id, "in_progress")
    await http.post(f"/v1/jobs/{id}/cancel")


async def test_of_an_erased_job_nothing_is_left_but_that_it_was(
    http: httpx.AsyncClient, reader: Reader
) -> None:
    id = await submitted(http, metadata={"a": "b"})
    whole = await ended(http, id)
    answer = await http.delete(f"/v1/jobs/{id}")
    assert answer.json() == {"id": id, "object": "job", "deleted": True}
    found = await shown(http, id)
    assert (found["state"], found["output_text"], found["output"]) == ("completed", None, None)
    assert (found["created_at"], found["usage"]) == (whole["created_at"], whole["usage"])
    row = await reader.store.jobs.get(id)
    assert (row.request, row.erased_at is None) == ({}, False)
    assert await reader.log.newest(id) is None
    assert [frame.event for frame in await all_frames(http, id)] == ["completed"]
    assert (await http.get(f"/v1/jobs/{id}/events?after={whole['cursor']}")).status_code == 204
    refused(await http.post(f"/v1/jobs/{id}/retry"), 409, id)
    assert (await http.delete(f"/v1/jobs/{id}")).status_code == 200


async def test_what_cannot_be_erased_everywhere_is_erased_nowhere(
    live: Stack, http: httpx.AsyncClient
) -> None:
    id = await submitted(http)
    whole = await ended(http, id)
    async with Proxy(live.env["DELTAWORKS_REDIS_URL"]) as proxy:
        gateway = await asyncio.to_thread(live.gateway, DELTAWORKS_REDIS_URL=proxy.url)
        async with httpx.AsyncClient(base_url=address_of(gateway), timeout=60) as cut_off:
            await proxy.down()
            refused(await cut_off.delete(f"/v1/jobs/{id}"), 503, "erase it again later")
            assert await shown(http, id) == whole
            assert (await cut_off.get("/readyz")).json()["dependencies"]["redis"]["ok"] is False
            await proxy.up()
            assert (await cut_off.delete(f"/v1/jobs/{id}")).status_code == 200
        gateway.kill()
    assert (await shown(http, id))["output_text"] is None


@pytest.mark.parametrize("way", ["", "/events", "/cancel", "/retry", "/token"])
async def test_nobody_is_told_of_a_job_that_is_not_there(http: httpx.AsyncClient, way: str) -> None:
    method = "GET" if way in ("", "/events") else "POST"
    refused(await http.request(method, f"/v1/jobs/job_missing{way}"), 404, "job_missing")
