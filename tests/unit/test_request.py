"""The job request: what is valid comes out repaired, what is not names its field and the remedy."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import Lane
from worker.catalog import Catalog, Upstream
from worker.errors import InvalidRequest
from worker.request import JobRequest, rejected, validate

CATALOG = Catalog(
    (
        Upstream(name="a", base_url="http://a", models=("gpt-*",), streams_logprobs=True),
        Upstream(name="b", base_url="http://b", models=("plain",)),
    )
)
MOST_BYTES = 10_000
HELLO = {"role": "user", "content": "hello"}


def body(**fields: object) -> dict[str, object]:
    return {"model": "gpt-4o", "messages": [HELLO], **fields}


def valid(document: object) -> JobRequest:
    return validate(document, CATALOG, MOST_BYTES)


def refused(document: object) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        valid(document)
    str(caught.value).encode()
    return caught.value


def test_the_smallest_request_is_streamed_and_interactive() -> None:
    request = valid({"request": body()})
    assert request.body == {**body(), "stream": True}
    assert (request.model, request.lane, request.id) == ("gpt-4o", Lane.INTERACTIVE, None)


def test_everything_that_can_be_said_is_taken() -> None:
    document = {
        "request": body(temperature=0.5, vendor_parameter={"deep": [1]}),
        "id": "order-0123456789_ABC",
        "idempotency_key": "k",
        "lane": "bulk",
        "scheduled_at": "2030-01-31T22:00:00+02:00",
        "deadline_at": "2030-02-01T00:00:00Z",
        "metadata": {"order": "7"},
    }
    request = valid(document)
    assert (request.id, request.idempotency_key) == ("order-0123456789_ABC", "k")
    assert request.lane is Lane.BULK
    assert request.scheduled_at == datetime(2030, 1, 31, 20, tzinfo=UTC)
    assert request.deadline_at == datetime(2030, 2, 1, tzinfo=UTC)
    assert request.metadata == {"order": "7"}
    assert request.body["vendor_parameter"] == {"deep": [1]}


def test_nulls_of_the_body_are_left_out() -> None:
    assert valid({"request": body(temperature=None, tools=None, stream=None)}) == valid(
        {"request": body()}
    )


def test_what_no_database_holds_is_repaired_everywhere() -> None:
    document = {
        "request": body(user="u\0", messages=[{"role": "user", "content": "\ud83d\ude00\ud800"}]),
        "metadata": {"k\0": "v\udfff"},
        "idempotency_key": "i\0",
    }
    request = valid(document)
    assert request.body["messages"] == [{"role": "user", "content": "\U0001f600\ufffd"}]
    assert request.body["user"] == "u\ufffd"
    assert request.metadata == {"k\ufffd": "v\ufffd"}
    assert request.idempotency_key == "i\ufffd"


def test_the_hash_is_of_what_is_asked_and_not_of_how_it_is_written() -> None:
    first = valid({"request": body(top_p=1, seed=2), "id": "a" * 16, "idempotency_key": "k"})
    again = valid({"request": dict(reversed(body(seed=2, top_p=1).items()))})
    assert first.hash == again.hash
    assert len(first.hash) == 64
    others: list[dict[str, object]] = [
        {"request": body(seed=2)},
        {"request": body(top_p=1, seed=2), "lane": "bulk"},
        {"request": body(top_p=1, seed=2), "metadata": {"a": "b"}},
        {"request": body(top_p=1, seed=2), "scheduled_at": "2030-01-01T00:00:00Z"},
        {"request": body(top_p=1, seed=2), "deadline_at": "2030-01-01T00:00:00Z"},
    ]
    assert len({first.hash, *(valid(other).hash for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        (None, "job request"),
        ([], "job request"),
        ("text", "job request"),
        ({}, "request"),
        ({1: 2}, "job request"),
        ({"request": None}, "request"),
        ({"request": "hello"}, "request"),
        ({"request": body(), "prompt": "x"}, "prompt"),
        ({"request": body(), "id": "short"}, "id"),
        ({"request": body(), "id": "x" * 65}, "id"),
        ({"request": body(), "id": "0123456789abcdeé"}, "id"),
        ({"request": body(), "id": "0123456789abcdef\n"}, "id"),
        ({"request": body(), "id": 1}, "id"),
        ({"request": body(), "idempotency_key": ""}, "idempotency_key"),
        ({"request": body(), "idempotency_key": "k" * 256}, "idempotency_key"),
        ({"request": body(), "lane": "fast"}, "lane"),
        ({"request": body(), "lane": ["bulk"]}, "lane"),
        ({"request": body(), "scheduled_at": "tomorrow"}, "scheduled_at"),
        ({"request": body(), "scheduled_at": "2030-01-01T00:00:00"}, "scheduled_at"),
        ({"request": body(), "scheduled_at": 1893456000}, "scheduled_at"),
        ({"request": body(), "scheduled_at": "0001-01-01T00:00:00+23:59"}, "scheduled_at"),
        ({"request": body(), "scheduled_at": "9999-12-31T23:59:59Z"}, "scheduled_at"),
        ({"request": body(), "deadline_at": "9999-12-31T23:59:59-23:59"}, "deadline_at"),
        (
            {
                "request": body(),
                "scheduled_at": "2030-01-01T01:00:00+01:00",
                "deadline_at": "2030-01-01T00:00:00Z",
            },
            "deadline_at",
        ),
        ({"request": body(), "metadata": []}, "metadata"),
        ({"request": body(), "metadata": {str(n): "" for n in range(17)}}, "metadata"),
        ({"request": body(), "metadata": {"k": 1}}, "metadata.k"),
        ({"request": body(), "metadata": {"k": "v" * 513}}, "metadata.k"),
        ({"request": body(), "metadata": {"k" * 65: "v"}}, "metadata." + "k" * 64),
        ({"request": body(), "metadata": {"k\ud800": 1}}, "metadata.k\ufffd"),
        ({"request": body(stream=False)}, "request.stream"),
        ({"request": body(stream=1)}, "request.stream"),
        ({"request": body(stream="true")}, "request.stream"),
        ({"request": {"model": "gpt-4o"}}, "request.messages"),
        ({"request": body(messages=[])}, "request.messages"),
        ({"request": body(messages="hello")}, "request.messages"),
        ({"request": body(messages=["hello"])}, "request.messages[0]"),
        ({"request": body(messages=[HELLO, {"role": "king"}])}, "request.messages[1].role"),
        ({"request": body(messages=[{"role": ["user"]}])}, "request.messages[0].role"),
        ({"request": body(messages=[{"role": "user"}])}, "request.messages[0].content"),
        (
            {"request": body(messages=[{"role": "user", "content": 1}])},
            "request.messages[0].content",
        ),
        (
            {"request": body(messages=[{"role": "user", "content": [{"text": "x"}]}])},
            "request.messages[0].content[0].type",
        ),
        (
            {"request": body(messages=[{"role": "tool", "content": "x"}])},
            "request.messages[0].tool_call_id",
        ),
        ({"request": {"messages": [HELLO]}}, "request.model"),
        ({"request": body(model="")}, "request.model"),
        ({"request": body(model="nobody's")}, "request.model"),
        ({"request": body(model="gpt-" + "x" * 252)}, "request.model"),
        ({"request": body(model=["gpt-4o"])}, "request.model"),
        ({"request": body(model="plain", logprobs=True)}, "request.logprobs"),
        ({"request": body(top_logprobs=3)}, "request.top_logprobs"),
        ({"request": body(n=0)}, "request.n"),
        ({"request": body(n=True)}, "request.n"),
        ({"request": body(temperature="hot")}, "request.temperature"),
        ({"request": body(temperature=float("nan"))}, "request.temperature"),
        ({"request": body(max_tokens=1.5)}, "request.max_tokens"),
        ({"request": body(seed=True)}, "request.seed"),
        ({"request": body(tools={})}, "request.tools"),
        ({"request": body(api_key="sk-1")}, "request.api_key"),
        ({"request": body(base_url="http://evil")}, "request.base_url"),
        ({"request": body(input="x")}, "request.input"),
        ({"request": body(max_tokens=-(10**400))}, "request.max_tokens"),
        ({"request": body(custom=10**5000)}, "request"),
        ({"request": body(), "lane": 10**5000}, "lane"),
        ({"request": body(logit_bias={50256: -100})}, "request"),
        ({"request": body(custom=object())}, "request"),
        ({"request": body(custom="x" * MOST_BYTES)}, "request"),
    ],
)
def test_a_fault_is_told_by_its_field_with_the_remedy(document: object, field: str) -> None:
    error = refused(document)
    assert error.field == field
    assert error.remedy
    assert str(error) == f"{field}: {error.problem}; {error.remedy}"
    assert len(str(error)) < 400


def test_a_conversation_has_an_end() -> None:
    with pytest.raises(InvalidRequest, match=r"request.messages: has 10,001 messages; send at"):
        validate({"request": body(messages=[HELLO] * 10_001)}, CATALOG, 10_000_000)


def test_nesting_has_an_end() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    assert refused({"request": body(custom=deep)}).problem == "nests deeper than 100"


def test_a_prompt_and_a_key_are_never_shown() -> None:
    secret = "sk-proj-0123456789-and-a-very-long-prompt-that-is-nobodys-business"
    for document in (
        {"request": body(messages=secret)},
        {"request": body(messages=[secret])},
        {"request": body(messages=[{"role": secret, "content": "x"}])},
        {"request": body(messages=[{"role": "user", "content": {"text": secret}}])},
        {"request": secret},
        {"request": body(api_key=secret)},
        {"request": body(), secret * 10: 1},
    ):
        shown = str(refused(document))
        assert secret not in shown
        assert len(shown) < 400


def test_numbers_of_any_size_are_the_upstreams_business() -> None:
    assert valid({"request": body(seed=10**30, temperature=10**400)}).body["seed"] == 10**30


def test_moments_may_come_as_moments() -> None:
    moment = datetime.now(UTC) + timedelta(hours=1)
    assert valid({"request": body(), "scheduled_at": moment}).scheduled_at == moment


def test_the_size_is_counted_in_bytes() -> None:
    empty = len(str(valid({"request": body(user="")}).body["user"]))
    assert empty == 0
    valid({"request": body(user="x" * (MOST_BYTES // 2))})
    assert "bytes" in refused({"request": body(user="日" * (MOST_BYTES // 2))}).problem


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = [
    "request", "id", "idempotency_key", "lane", "scheduled_at", "deadline_at", "metadata",
    "model", "messages", "n", "stop", "tools", "logprobs", "top_logprobs", "role", "content",
]  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), json_values), st.dictionaries(
    st.sampled_from(NAMES), json_values
))  # fmt: skip
def test_whatever_json_comes_is_taken_or_refused(
    envelope: dict[str, object], request: dict[str, object]
) -> None:
    for document in (envelope, {**envelope, "request": request}, {"request": body(**request)}):
        try:
            assert valid(document).hash
        except InvalidRequest as error:
            str(error).encode()
        assert rejected(document).body == {}


def test_a_rejected_request_keeps_what_can_be_kept() -> None:
    request = rejected({"request": {"model": "m\0" * 200, "n": 0}, "lane": "bulk"})
    assert (request.lane, request.hash, request.body) == (Lane.BULK, "", {})
    assert request.model == ("m\ufffd" * 200)[:255]


@pytest.mark.parametrize(
    "document", [None, [], {}, {"request": None}, {"request": {}}, {"request": {"model": None}}]
)
def test_a_rejected_request_without_a_model_names_none(document: object) -> None:
    assert rejected(document).model == ""
