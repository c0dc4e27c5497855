"""The lines of a batch's file: others' samples as they are, and faults with line and remedy."""

import io
import tracemalloc
from typing import Any

import msgspec
import pytest

from tests.batches import CHAT, batch
from worker.batch.lines import AROUND, MOST_FAULTS, PORTION_ROWS, Lines, documents
from worker.catalog import Catalog, Price, Upstream
from worker.store import Row

PRICES = {"gpt-*": Price(input=10.0, output=100.0)}
NAMED = Upstream(name="a", base_url="http://a", models=("gpt-*", "sim"), prices=PRICES)
CATALOG = Catalog((NAMED,))
ANYTHING = Catalog((Upstream(name="a", base_url="http://a"),))
MOST_BYTES = 20_000
PROMPT = "The patient, Mrs Miller of 7 Hill Road, was told on Monday that she has it again."
HELLO = {"role": "user", "content": PROMPT}

# https://platform.openai.com/docs/guides/batch
OPENAI = b"""\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-3.5-turbo-0125", "messages": [{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-3.5-turbo-0125", "messages": [{"role": "system", "content": "You are an unhelpful assistant."},{"role": "user", "content": "Hello world!"}],"max_tokens": 1000}}
"""  # noqa: E501
# vLLM's examples/offline_inference/openai_batch
VLLM = b"""\
{"custom_id": "request-1", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "messages": [{"role": "system", "content": "You are a helpful assistant."},{"role": "user", "content": "Hello world!"}],"max_completion_tokens": 1000}}
{"custom_id": "request-2", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "messages": [{"role": "system", "content": "You are an unhelpful assistant."},{"role": "user", "content": "Hello world!"}],"max_completion_tokens": 1000}}
"""  # noqa: E501
# Azure's "Getting started with global batch deployments"
AZURE = b"""\
{"custom_id": "task-0", "method": "POST", "url": "/chat/completions", "body": {"model": "REPLACE-WITH-MODEL-DEPLOYMENT-NAME", "messages": [{"role": "system", "content": "You are an AI assistant that helps people find information."}, {"role": "user", "content": "When was Microsoft founded?"}]}}
{"custom_id": "task-1", "method": "POST", "url": "/chat/completions", "body": {"model": "REPLACE-WITH-MODEL-DEPLOYMENT-NAME", "messages": [{"role": "system", "content": "You are an AI assistant that helps people find information."}, {"role": "user", "content": "When was the first XBOX released?"}]}}
{"custom_id": "task-2", "method": "POST", "url": "/chat/completions", "body": {"model": "REPLACE-WITH-MODEL-DEPLOYMENT-NAME", "messages": [{"role": "system", "content": "You are an AI assistant that helps people find information."}, {"role": "user", "content": "What is Altair Basic?"}]}}"""  # noqa: E501


def line(custom_id: object = "row-1", **fields: Any) -> bytes:
    """A line; fields of the body are named `body_...`."""
    body = {"model": "gpt-4o", "messages": [HELLO]}
    for name in [name for name in fields if name.startswith("body_")]:
        body[name.removeprefix("body_")] = fields.pop(name)
    whole = {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body, **fields}
    return msgspec.json.encode({name: v for name, v in whole.items() if v is not Ellipsis})


def reading(content: bytes, catalog: Catalog = CATALOG, most: int = 1000, **fields: Any) -> Lines:
    return Lines(io.BytesIO(content), batch(**fields), catalog, max_bytes=MOST_BYTES, max_rows=most)


def read(lines: Lines) -> list[Row]:
    """All valid rows, in all portions."""
    rows = []
    while not lines.over:
        rows += lines.portion()
    return rows


def valid(content: bytes, catalog: Catalog = CATALOG, **fields: Any) -> list[Row]:
    lines = reading(content, catalog, **fields)
    rows = read(lines)
    assert lines.faults == []
    assert lines.total == len(rows)
    return rows


def faulty(content: bytes, **fields: Any) -> list[tuple[int | None, str]]:
    """Line and code of each fault; none says what a prompt says."""
    lines = reading(content, **fields)
    read(lines)
    for document in documents(lines.faults):
        assert document.keys() == {"code", "message", "line", "param"}
        assert "Miller" not in str(document) and "Hill Road" not in str(document)
        assert "; " in str(document["message"]), "it names no remedy"
    return [(fault.line, fault.code) for fault in lines.faults]


@pytest.mark.parametrize(
    ("sample", "names", "model"),
    [
        (OPENAI, ["request-1", "request-2"], "gpt-3.5-turbo-0125"),
        (VLLM, ["request-1", "request-2"], "meta-llama/Meta-Llama-3-8B-Instruct"),
        (AZURE, ["task-0", "task-1", "task-2"], "REPLACE-WITH-MODEL-DEPLOYMENT-NAME"),
    ],
)
def test_samples_of_others_are_accepted_as_they_are(
    sample: bytes, names: list[str], model: str
) -> None:
    lines = reading(sample, ANYTHING)
    rows = read(lines)
    assert [row.custom_id for row in rows] == names
    assert (lines.model, lines.total, lines.faults) == (model, len(names), [])
    for row, given in zip(rows, sample.splitlines(), strict=True):
        body = msgspec.json.decode(given)["body"]
        assert msgspec.json.decode(row.request) == {**body, "stream": True}
        assert (row.model, row.response_fields) == (model, None)


def test_rows_of_responses_become_chats_and_keep_what_a_response_repeats() -> None:
    body = {
        "model": "gpt-4o",
        "instructions": "Be brief.",
        "input": PROMPT,
        "max_output_tokens": 50,
        "temperature": 0.5,
    }
    content = line(url="/v1/responses", body=body) + b"\n" + line("2", url="/responses", body=body)
    first, second = valid(content, endpoint="/v1/responses")
    chat = msgspec.json.decode(first.request)
    assert [message["content"] for message in chat["messages"]] == ["Be brief.", PROMPT]
    assert chat["stream"] is True and "input" not in chat
    assert first.response_fields is not None and second.request == first.request
    assert msgspec.json.decode(first.response_fields)["instructions"] == "Be brief."


def test_a_response_cannot_continue_another_in_a_batch() -> None:
    body = {"model": "gpt-4o", "input": PROMPT, "previous_response_id": "resp_1"}
    lines = reading(line(url="/v1/responses", body=body), endpoint="/v1/responses")
    assert read(lines) == []
    assert lines.faults[0].param == "body.previous_response_id"


@pytest.mark.parametrize("endpoint", [CHAT, "/v1/responses"])
@pytest.mark.parametrize(
    "stream", [{"stream": True}, {"stream": False}, {"stream": None}, {"stream": True, "stream_options": {"include_usage": True}}]  # noqa: E501
)  # fmt: skip
def test_how_an_answer_comes_is_nobodys_choice(endpoint: str, stream: dict[str, object]) -> None:
    own = {"messages": [HELLO]} if endpoint == CHAT else {"input": PROMPT}
    body = {"model": "gpt-4o", **own, **stream}
    (row,) = valid(line(url=endpoint, body=body), endpoint=endpoint)
    request = msgspec.json.decode(row.request)
    assert request["stream"] is True and "stream_options" not in request


def test_a_byte_order_mark_crlf_and_blank_lines_are_passed_over() -> None:
    content = b"\xef\xbb\xbf" + b"\r\n".join([line("a"), b"", b"  \t", line("b"), b"\r", line("c")])
    assert [(row.number, row.custom_id) for row in valid(content)] == [(0, "a"), (3, "b"), (5, "c")]
    assert len(valid(b"\n\n" + line("a") + b"\n\n\n")) == 1
    assert faulty(b"\n" + b"\xef\xbb\xbf" + line()) == [(2, "invalid_json_line")]


def test_a_last_line_without_its_line_feed_is_read() -> None:
    assert len(valid(line("a") + b"\n" + line("b"))) == 2
    assert len(valid(line("a") + b"\n" + line("b") + b"\n")) == 2


def test_texts_of_rows_are_repaired() -> None:
    (row,) = valid(rb'{"custom_id":"a\u0000","url":"/v1/chat/completions","body":{"model":"gpt-4o",'
                   rb'"messages":[{"role":"user","content":"\ud83d\ude00 \u0000"}]}}')  # fmt: skip
    assert row.custom_id == "a\ufffd"
    assert "\U0001f600 \ufffd" in row.request


FAULTS: list[tuple[bytes, str, str | None]] = [
    (b'{"custom_id": "a", "method"', "invalid_json_line", None),
    (b"\xff" + PROMPT.encode(), "invalid_json_line", None),
    (b'{"custom_id": "' + PROMPT.encode() + b"\xff" + b'"}', "invalid_json_line", None),
    (b'"' + PROMPT.encode() + b'"', "invalid_json_line", None),
    (PROMPT.encode(), "invalid_json_line", None),
    (b"[1]", "invalid_json_line", None),
    (b"null", "invalid_json_line", None),
    (b"[" * 5000 + b"]" * 5000, "invalid_json_line", None),
    (line(...), "invalid_custom_id", "custom_id"),
    (line(None), "invalid_custom_id", "custom_id"),
    (line(7), "invalid_custom_id", "custom_id"),
    (line(""), "invalid_custom_id", "custom_id"),
    (line("i" * 256), "invalid_custom_id", "custom_id"),
    (line({"prompt": PROMPT}), "invalid_custom_id", "custom_id"),
    (line("same"), "duplicate_custom_id", "custom_id"),
    (line(method="GET"), "invalid_method", "method"),
    (line(method=PROMPT), "invalid_method", "method"),
    (line(url=...), "url_mismatch", "url"),
    (line(url="/v1/responses"), "url_mismatch", "url"),
    (line(url="/v1/embeddings"), "url_mismatch", "url"),
    (line(url=PROMPT), "url_mismatch", "url"),
    (line(body=...), "invalid_request", "body"),
    (line(body=[PROMPT]), "invalid_request", "body"),
    (line(body=PROMPT), "invalid_request", "body"),
    (line(body_messages=[]), "invalid_request", "body.messages"),
    (line(body_messages=PROMPT), "invalid_request", "body.messages"),
    (line(body_messages=[{"role": "user", "content": PROMPT}, PROMPT]), "invalid_request",
     "body.messages[1]"),
    (line(body_messages=[{"role": PROMPT, "content": PROMPT}]), "invalid_request",
     "body.messages[0].role"),
    (line(body_temperature=PROMPT), "invalid_request", "body.temperature"),
    (line(body_prompt=PROMPT), "invalid_request", "body.prompt"),
    (line(body_logprobs=True), "invalid_request", "body.logprobs"),
    (line(body_model=7), "invalid_request", "body.model"),
    (line(body_model="llama"), "model_not_found", "body.model"),
    (line(body_model="gpt-5"), "model_mismatch", "body.model"),
    (line(body_deep=msgspec.json.decode(b"[" * 150 + b"]" * 150)), "invalid_request", "body"),
    (line(body_user=PROMPT * 400), "request_too_large", None),
    (line(body_user=PROMPT * 260), "invalid_request", "body"),
]  # fmt: skip


@pytest.mark.parametrize(("fault", "code", "param"), FAULTS)
def test_a_fault_is_told_with_its_line_and_a_remedy(
    fault: bytes, code: str, param: str | None
) -> None:
    content = b"\n".join([line("same"), b"", fault, line("last")])
    lines = reading(content)
    assert [row.custom_id for row in read(lines)] == ["same", "last"]
    assert faulty(content) == [(3, code)]
    assert lines.faults[0].param == param
    assert lines.total == 3


def test_all_faults_are_told_in_the_order_of_lines() -> None:
    lines = [fault.replace(b'"row-1"', b'"row-%d"' % n) for n, (fault, _, _) in enumerate(FAULTS)]
    found = faulty(b"\n".join([line("same"), *lines]))
    assert found == [(place, code) for place, (_, code, _) in enumerate(FAULTS, 2)]


def test_a_duplicate_names_the_line_of_the_first() -> None:
    lines = reading(b"\n".join([line("x"), line("a"), line("b"), line("a"), line("a")]))
    read(lines)
    assert [fault.line for fault in lines.faults] == [4, 5]
    assert all("as in line 2;" in fault.message for fault in lines.faults)


def test_no_more_than_a_thousand_faults_are_told_and_then_no_more_is_read() -> None:
    content = b"x\n" * 5000
    lines = reading(content, most=10_000)
    assert read(lines) == []
    assert len(lines.faults) == MOST_FAULTS == 1000
    assert lines.faults[-1].line == 1000 and lines.total == 1000


def test_a_file_without_rows_is_a_fault() -> None:
    for content in (b"", b"\n\n", b"\xef\xbb\xbf", b" \r\n"):
        assert faulty(content) == [(None, "empty_file")]


def test_a_file_with_too_many_rows_is_a_fault_and_is_not_read_on() -> None:
    content = b"\n".join(line(str(n)) for n in range(20))
    assert len(valid(content, most=20)) == 20
    lines = reading(content, most=19)
    assert len(read(lines)) == 19
    (fault,) = lines.faults
    assert (fault.code, fault.line) == ("too_many_tasks", None)
    assert "more than 19 rows; split it" in fault.message
    assert faulty(b"x\n" * 30, most=2) == [
        (1, "invalid_json_line"), (2, "invalid_json_line"), (None, "too_many_tasks"),
    ]  # fmt: skip
    long = b"x" * (2 * MOST_BYTES)
    assert faulty(b"\n".join([line(), long, line()]), most=1) == [(None, "too_many_tasks")]


def test_several_models_are_taken_where_they_are_wanted() -> None:
    content = line("a") + b"\n" + line("b", body_model="gpt-5")
    lines = reading(content, mixed_models=True)
    assert [row.model for row in read(lines)] == ["gpt-4o", "gpt-5"]
    assert lines.faults == [] and lines.model is None
    assert reading(line()).model is None


def test_a_model_that_the_batch_may_not_use_is_a_fault_of_its_line() -> None:
    content = b"\n".join([line("a"), line("b", body_model="gpt-5"), line("c", body_model="sim")])
    terms: dict[str, Any] = {"mixed_models": True, "allowed_models": ["gpt-4o", "si?"]}
    lines = reading(content, **terms)
    assert [row.custom_id for row in read(lines)] == ["a", "c"]
    assert documents(lines.faults) == [
        {
            "code": "permission_denied",
            "message": "body.model: this key may not use 'gpt-5'; use gpt-4o, si?",
            "line": 2,
            "param": "body.model",
        }
    ]
    assert faulty(content, mixed_models=True, allowed_models=[]) == [
        (place, "permission_denied") for place in (1, 2, 3)
    ]
    # It says so of a model of which it may have none, rather than that it has another already.
    assert faulty(content, allowed_models=["gpt-4o"])[0] == (2, "permission_denied")
    assert len(valid(content, mixed_models=True, allowed_models=["*"])) == 3


def test_a_response_keeps_its_metadata_and_those_of_a_chat_are_its_upstreams() -> None:
    url, body = "/v1/responses", {"model": "gpt-4o", "input": PROMPT}
    given = {"project": "x\u0000", "\u00e4": ""}
    several = [given, {}, None]
    content = b"\n".join(
        line(str(n), url=url, body={**body, "metadata": each}) for n, each in enumerate(several)
    )
    kept = [row.labels for row in valid(content, endpoint=url)]
    assert msgspec.json.decode(kept[0] or "") == {"project": "x\ufffd", "\u00e4": ""}
    assert kept[1:] == [None, None]
    (chat,) = valid(line(body_metadata={"a": "b"}))
    assert chat.labels is None and msgspec.json.decode(chat.request)["metadata"] == {"a": "b"}


@pytest.mark.parametrize(
    ("metadata", "param"),
    [
        (7, "body.metadata"),
        (["a"], "body.metadata"),
        ({str(n): "" for n in range(17)}, "body.metadata"),
        ({"a": 1}, "body.metadata.a"),
        ({"a": "x" * 513}, "body.metadata.a"),
    ],
)
def test_metadata_of_a_response_that_cannot_be_are_a_fault(metadata: object, param: str) -> None:
    body = {"model": "gpt-4o", "input": PROMPT, "metadata": metadata}
    lines = reading(line(url="/v1/responses", body=body), endpoint="/v1/responses")
    assert read(lines) == []
    assert [(each.code, each.param) for each in lines.faults] == [("invalid_request", param)]


def test_a_cap_needs_prices_and_knows_what_the_dearest_row_may_cost() -> None:
    rows = [line("a", body_max_tokens=10), line("b", body_max_tokens=1000), line("c")]
    cheap, dear = reading(rows[0], max_cost=1.0), reading(b"\n".join(rows[:2]), max_cost=1.0)
    assert len(read(cheap)) == 1 and len(read(dear)) == 2
    assert 0.001 < cheap.reserve < 0.01
    assert 0.1 < dear.reserve < 0.11
    assert reading(rows[0]).reserve == 0.0
    assert faulty(line(body_model="sim"), max_cost=1.0) == [(1, "no_price")]
    assert len(valid(line(body_model="sim"))) == 1


def served_by(*prices: Price | None) -> Catalog:
    """Upstreams that serve the same models in this order, each with a price or none."""
    upstreams = [
        Upstream(name=f"up-{n}", base_url="http://a", prices={} if price is None else {"*": price})
        for n, price in enumerate(prices)
    ]
    return Catalog(tuple(upstreams))


CHEAP, DEAR = Price(input=1.0, output=1.0), Price(input=10.0, output=100.0)


@pytest.mark.parametrize("prices", [(CHEAP, DEAR), (DEAR, CHEAP), (DEAR,)])
def test_a_row_may_cost_what_the_dearest_upstream_of_its_model_takes(
    prices: tuple[Price, ...],
) -> None:
    lines = reading(line(body_max_tokens=1000), served_by(*prices), max_cost=1.0)
    assert len(read(lines)) == 1 and lines.faults == []
    assert 0.1 < lines.reserve < 0.11


@pytest.mark.parametrize("prices", [(CHEAP, None), (None, CHEAP), (CHEAP, None, DEAR, None)])
def test_a_cap_is_refused_by_the_names_of_upstreams_without_a_price(
    prices: tuple[Price | None, ...],
) -> None:
    lines = reading(line(), served_by(*prices), max_cost=1.0)
    assert read(lines) == []
    (fault,) = lines.faults
    assert (fault.code, fault.param) == ("no_price", "body.model")
    names = ", ".join(f"up-{n}" for n, price in enumerate(prices) if price is None)
    assert f"has no price at {names}, and the batch has max_cost; add one" in fault.message


def test_portions_are_of_so_many_rows_and_the_next_goes_on_there() -> None:
    count = 2 * PORTION_ROWS + 1
    lines = reading(b"\n".join(line(str(n)) for n in range(count)), most=count)
    sizes = []
    while not lines.over:
        sizes.append(len(lines.portion()))
    assert sizes == [PORTION_ROWS, PORTION_ROWS, 1]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_the_longest_line_is_read_and_a_longer_one_passed_over(more: int) -> None:
    long = line("long").ljust(MOST_BYTES + AROUND - 1 + more)
    content = b"\n".join([line("a"), long, line("b")])
    lines = reading(content)
    names = [row.custom_id for row in read(lines)]
    assert names == (["a", "long", "b"] if more <= 0 else ["a", "b"])
    assert [fault.code for fault in lines.faults] == ["request_too_large"] * (more > 0)


class Endless(io.RawIOBase):
    """A line of so many bytes, and another after it, made as they are read."""

    def __init__(self, size: int, last: bytes) -> None:
        self._left = size
        self._last = io.BytesIO(b"\n" + last)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(len(buffer), self._left)
        self._left -= size
        if size:
            buffer[:size] = b"x" * size
            return size
        return self._last.readinto(buffer)


def test_a_line_that_is_too_long_is_not_kept_in_memory() -> None:
    file = io.BufferedReader(Endless(100_000_000, line("last")), 1 << 16)
    lines = Lines(file, batch(), CATALOG, max_bytes=MOST_BYTES, max_rows=10)
    tracemalloc.start()
    try:
        rows = read(lines)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [row.custom_id for row in rows] == ["last"] and rows[0].number == 1
    assert [(fault.line, fault.code) for fault in lines.faults] == [(1, "request_too_large")]
    assert peak < 8_000_000
