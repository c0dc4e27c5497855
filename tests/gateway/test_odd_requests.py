"""Requests that no honest client sends: each is answered, by an error that says what is wrong."""

from typing import Any

import httpx
import pytest

from tests.stack import Stack, chat

pytestmark = [
    pytest.mark.usefixtures("workless"),
    pytest.mark.xdist_group("gateway odd requests"),
]

JSON = {"content-type": "application/json"}
LONE = r"\ud800"
FUNCTION = '{"type": "function", "name": "f"'


async def refused(http: httpx.AsyncClient, path: str, body: str) -> dict[str, Any]:
    """The error by which the body is refused."""
    answer = await http.post(path, content=body, headers=JSON)
    assert answer.status_code == 400, answer.text
    error: dict[str, Any] = answer.json()["error"]
    return error


def asking(more: str) -> str:
    """A request for a response, with more in it."""
    return f'{{"model": "sim", "input": "x", "background": true, {more}}}'


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/v1/jobs", f'{{"jobs": [{{}}], "{LONE}": 1}}', "\ufffd"),
        ("/v1/responses", asking(f'"text": {{"{LONE}": 1}}'), "text.\ufffd"),
        ("/v1/responses", asking(f'"reasoning": {{"{LONE}": 1}}'), "reasoning.\ufffd"),
        ("/v1/responses", asking(f'"tools": [{FUNCTION}, "{LONE}": 1}}]'), "tools[0].\ufffd"),
        ("/v1/responses", asking(f'"previous_response_id": "{LONE}"'), "previous_response_id"),
    ],
)
async def test_a_name_that_utf8_cannot_hold_is_named_as_far_as_it_can_be(
    http: httpx.AsyncClient, path: str, body: str, param: str
) -> None:
    assert (await refused(http, path, body))["param"] == param


async def test_what_a_response_would_repeat_may_not_nest_too_deeply(
    http: httpx.AsyncClient,
) -> None:
    deep = "[" * 900 + "]" * 900
    chosen = asking(f'"tools": [{FUNCTION}}}], "tool_choice": {FUNCTION}, "more": {deep}}}')
    error = await refused(http, "/v1/responses", chosen)
    assert error["param"] == "tool_choice"
    assert "nests deeper than 100" in error["message"]


@pytest.mark.parametrize("stream", [0, 1, 1.0])
async def test_a_number_is_not_taken_for_true_or_false(
    http: httpx.AsyncClient, stream: float
) -> None:
    answer = await http.post("/v1/chat/completions", json=chat("sim", stream=stream))
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "stream")


@pytest.mark.parametrize("digits", ["0" * 8 + "1" + "9" * 30, "0" * 8 + "1" + "9" * 5_000])
async def test_a_number_of_many_digits_is_none(http: httpx.AsyncClient, digits: str) -> None:
    made = await http.post("/v1/responses", content=asking('"store": true'), headers=JSON)
    response = f"/v1/responses/{made.json()['id']}"
    for path, query in [
        ("/v1/jobs", {"limit": digits}),
        (f"{response}/input_items", {"limit": digits}),
        (response, {"stream": "true", "starting_after": digits * 2}),
    ]:
        answer = await http.get(path, params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, list(query)[-1])


async def test_jobs_are_filtered_by_a_name_of_any_kind(http: httpx.AsyncClient) -> None:
    names = ["", "two\nlines", 'quo"te', "do.t", "nul\0", "brack]et[", "back\\slash", "$", "\u00e9"]
    for name in names:
        body = {"request": chat("sim"), "metadata": {name: "found"}}
        made = (await http.post("/v1/jobs", json=body)).json()
        found = await http.get("/v1/jobs", params={f"metadata[{name}]": "found"})
        assert [job["id"] for job in found.json()["data"]] == [made["id"]], name
    too_long = {f"metadata[{'x' * 65}]": "found"}
    assert (await http.get("/v1/jobs", params=too_long)).json()["data"] == []


async def test_a_method_that_a_path_lacks_is_answered_by_those_it_has(
    http: httpx.AsyncClient,
) -> None:
    for path, there in [
        ("/v1/jobs", "GET, HEAD, POST"),
        ("/v1/jobs/some", "DELETE, GET, HEAD"),
        ("/v1/chat/completions", "POST"),
    ]:
        answer = await http.put(path)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (405, "method_not_allowed")
        assert answer.headers["allow"] == there
        assert there in error["message"]


@pytest.mark.parametrize("path", ["/nothing", "/v1/jobs/", "/v1/jobs/a/b", "//", "/docs/more"])
async def test_an_unknown_path_is_answered_in_the_shape_of_every_error(
    http: httpx.AsyncClient, path: str
) -> None:
    answer = await http.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_the_gateway_found_no_fault_of_its_own_in_any_of_them(workless: Stack) -> None:
    printed = "".join(workless.printed().values())
    assert " ERROR " not in printed
