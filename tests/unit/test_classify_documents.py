"""An error is found wherever an upstream puts it, and an answer is never taken for one."""

import json
from itertools import pairwise

import pytest

from worker.classify import classify_event, error_in
from worker.errors import Category

CHUNK = {
    "id": "c",
    "object": "chat.completion.chunk",
    "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
}


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"code": "slow_down", "message": "m"}},
        [{"error": {"code": "slow_down", "message": "m"}}],
        {"error": [{"code": "slow_down", "message": "m"}]},
        {"error": "m", "error_type": "slow_down"},
        {"error": "m", "code": "slow_down"},
        {"error": True, "message": "m", "code": "slow_down"},
        {"error": "Too Many Requests", "message": "m", "code": "slow_down"},
        {"object": "error", "message": "m", "type": "x", "code": "slow_down"},
        {"type": "error", "code": "slow_down", "message": "m"},
        {"code": "slow_down", "message": "m"},
        {"detail": {"code": "slow_down", "message": "m"}},
        {"detail": {"error": {"code": "slow_down", "message": "m"}}},
        {"detail": "m", "code": "slow_down"},
        {**CHUNK, "error": {"code": "slow_down", "message": "m"}},
        {"choices": [], "x_groq": {"error": {"code": "slow_down", "message": "m"}}},
        {"choices": [{"index": 0, "error": {"code": "slow_down", "message": "m"}}]},
        {"error": {"message": json.dumps({"error": {"code": "slow_down", "message": "m"}})}},
        {"error": {"message": {"error": {"code": "slow_down", "message": "m"}}}},
        {"error": {"message": "outer", "error": {"code": "slow_down", "message": "m"}}},
        {"error": json.dumps([{"error": {"code": "slow_down", "message": "m"}}])},
    ],
    ids=lambda document: json.dumps(document)[:60],
)
def test_an_error_is_found_in_every_shape(document: object) -> None:
    assert error_in(document) is not None
    classified = classify_event(document)
    assert (classified.category, classified.code) == (Category.RATE_LIMIT, "slow_down")
    assert classified.message == "m"


@pytest.mark.parametrize(
    "document",
    [
        CHUNK,
        {**CHUNK, "error": None},
        {**CHUNK, "error": {}},
        {**CHUNK, "error": ""},
        {**CHUNK, "error": "None"},
        {**CHUNK, "error": []},
        {**CHUNK, "error": False},
        {**CHUNK, "error": {"code": None, "message": "", "type": "null"}},
        {**CHUNK, "x_groq": {"id": "r", "error": None, "usage": {}}},
        {"choices": []},
        {"choices": [{"content_filter_results": {"error": {"code": "content_filter_error"}}}]},
        {"prompt_filter_results": [{"content_filter_results": {}}], "choices": [], "message": "m"},
        {"code": 200, "message": "ok"},
        {"code": "0", "message": "success"},
        {"message": {"role": "assistant", "content": "native Ollama"}, "done": False},
        {"message": "None"},
        {"detail": None},
        {},
        [],
        [[]],
        None,
        "text",
        429,
    ],
    ids=lambda document: json.dumps(document)[:60],
)
def test_an_answer_is_no_error(document: object) -> None:
    assert error_in(document) is None


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"code": "x", "message": "m"}, "m"),
        ("plain words", "plain words"),
        ({"error": {"message": "m"}}, "m"),
        ({}, ""),
        (None, ""),
        (["a"], ""),
    ],
)
def test_whatever_comes_under_event_error_is_an_error(document: object, message: str) -> None:
    assert error_in(document, "error") is not None
    assert classify_event(document, "error").message == message


def test_a_validation_error_is_told_field_by_field() -> None:
    detail = [{"loc": ["body", "n"], "msg": "too big"}, {"msg": "bad"}, "odd"]
    assert error_in({"detail": detail}) == {
        "detail": detail,
        "message": "body.n: too big; request: bad; odd",
    }


def test_nested_documents_are_opened_ten_deep_and_no_deeper() -> None:
    layers: list[dict[str, object]] = [{"error": {"code": "slow_down", "message": "m"}}]
    for _ in range(11):
        layers.append({"error": {"message": json.dumps(layers[-1])}})
    assert classify_event(layers[10]).code == "slow_down"
    assert classify_event(layers[11]).code is None
    assert all(len(str(outer)) > len(str(inner)) for inner, outer in pairwise(layers))


def test_the_inner_error_speaks_for_itself() -> None:
    inner = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m"}}
    outer = {"message": json.dumps(inner), "type": "server_error", "code": "500"}
    classified = classify_event({"error": outer})
    assert (classified.category, classified.code) == (Category.RATE_LIMIT, "RESOURCE_EXHAUSTED")


def test_an_inner_message_without_names_keeps_the_outer_names() -> None:
    outer = {"message": json.dumps({"message": "m"}), "type": "overloaded_error"}
    classified = classify_event({"error": outer})
    assert (classified.code, classified.message) == ("overloaded_error", "m")


def test_only_a_whole_message_is_opened_for_a_part_may_quote_the_prompt() -> None:
    quoted = "Invalid content: " + json.dumps({"error": {"code": "insufficient_quota"}})
    classified = classify_event({"error": {"message": quoted, "code": 400}})
    assert classified.category is Category.BAD_REQUEST


@pytest.mark.parametrize(
    "raw",
    [
        '{"error":{"message":"inner","code":"insufficient_quota"}}',
        {"error": {"message": "inner", "code": "insufficient_quota"}},
        '[{"error":{"message":"inner","type":"insufficient_quota"}}]',
    ],
)
def test_the_provider_behind_openrouter_is_heard_where_the_code_is_only_a_number(
    raw: object,
) -> None:
    outer = {"code": 429, "message": "Provider returned error", "metadata": {"raw": raw}}
    classified = classify_event({"error": outer})
    assert (classified.category, classified.code) == (Category.BILLING, "insufficient_quota")
    assert classified.message == "Provider returned error: inner"


def test_the_provider_behind_openrouter_is_not_heard_where_openrouter_says_a_word() -> None:
    raw = '{"error":{"code":"insufficient_quota"}}'
    outer = {"code": "server_error", "message": "m", "metadata": {"raw": raw}}
    assert classify_event({"error": outer}).category is Category.SERVER


@pytest.mark.parametrize("raw", [None, "", "None", 7, [], "{", "words"])
def test_a_provider_that_says_nothing_useful_changes_nothing(raw: object) -> None:
    outer = {"code": 502, "message": "m", "metadata": {"raw": raw}}
    classified = classify_event({"error": outer})
    assert (classified.category, classified.code) == (Category.SERVER, "502")


@pytest.mark.parametrize("number", [True, 99, 600, 3.5, -1, "0429", {}, [429]])
def test_what_is_no_http_status_does_not_stand_in_for_one(number: object) -> None:
    assert classify_event({"error": {"message": "m", "code": number}}).category is (
        Category.UNKNOWN
    )
