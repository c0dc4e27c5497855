"""Prompts, one on each line, become the rows of a batch's file."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.batch.request import CHAT, RESPONSES
from worker.cli.batch.prompts import Form, plain_form, template_of
from worker.cli.batch.source import Counted, Head, convert, copy, head_of, opened
from worker.cli.batch.wish import Wish, batch_request, check_limits, has_prompts
from worker.errors import InvalidRequest

MOST = 1_000


def rows(content: bytes, form: Form, most: int = MOST) -> list[dict[str, Any]]:
    """The rows that a file of prompts becomes."""
    file, into = io.BytesIO(content), io.BytesIO()
    convert(head_of(file), file, form, Counted(into, 1_000_000), most)
    return [json.loads(line) for line in into.getvalue().splitlines()]


def prompts_of(content: bytes) -> dict[str, str]:
    """The prompts of a file by their ids."""
    form = Form({"messages": [{"content": "{prompt}"}]}, CHAT)
    return {row["custom_id"]: row["body"]["messages"][0]["content"] for row in rows(content, form)}


def wish(**given: Any) -> Wish:
    """What `batch submit` was asked for."""
    plain: dict[str, Any] = {
        "file": Path("x"), "text": False, "jsonl": False, "model": None, "system": None,
        "params": [], "template": None, "endpoint": None, "metadata": [], "max_cost": None,
        "max_failed_ratio": None, "terms": {},
    }  # fmt: skip
    return Wish(**{**plain, **given})


def head(content: bytes) -> Head:
    return head_of(io.BytesIO(content))


def test_each_line_is_a_row_that_is_named_by_its_number() -> None:
    assert prompts_of(b"one\ntwo\nthree") == {"row-1": "one", "row-2": "two", "row-3": "three"}


def test_blank_lines_are_skipped_and_still_counted() -> None:
    assert prompts_of(b"\n \t\none\n\r\n\ntwo\n\n") == {"row-3": "one", "row-6": "two"}


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_part_of_a_prompt() -> None:
    found = prompts_of(b"\xef\xbb\xbfone \r\n\ttwo\r\n")
    assert found == {"row-1": "one ", "row-2": "\ttwo"}


@given(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"])))
def test_any_text_comes_out_as_it_went_in(prompt: str) -> None:
    body = {"messages": [{"role": "user", "content": 'He said: "{prompt}" \\{prompt}\n{other}'}]}
    row = json.loads(Form(body, CHAT).line(7, prompt))
    assert row["body"]["messages"][0]["content"] == f'He said: "{prompt}" \\{prompt}\n{{other}}'
    assert (row["custom_id"], row["method"], row["url"]) == ("row-7", "POST", CHAT)


def test_a_prompt_that_speaks_of_the_placeholder_is_left_alone() -> None:
    form = plain_form(CHAT, "m", "Replace {prompt}.", {})
    body = json.loads(form.line(1, "what is {prompt}?"))["body"]
    assert [message["content"] for message in body["messages"]] == [
        "Replace {prompt}.",
        "what is {prompt}?",
    ]


def test_options_become_a_chat_or_a_response() -> None:
    chat = json.loads(plain_form(CHAT, "m", None, {"seed": 7}).line(1, "hi"))["body"]
    assert chat == {"seed": 7, "model": "m", "messages": [{"role": "user", "content": "hi"}]}
    response = json.loads(plain_form(RESPONSES, "m", "be brief", {}).line(1, "hi"))["body"]
    assert response == {"model": "m", "input": "hi", "instructions": "be brief"}


@pytest.mark.parametrize("name", ["model", "messages"])
def test_parameters_cannot_set_what_has_an_option(name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"--param: sets {name}"):
        plain_form(CHAT, "m", None, {name: "x"})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'{"messages": []}', "has no {prompt} in any text"),
        (b"[1]", "is no request body"),
        (b'{"messages": ', "is no request body"),
        (b'{"messages": "\xff"}', "it is not UTF-8"),
        (b'{"a":' * 100_000, "nests too deeply"),
    ],
)
def test_a_template_without_a_place_for_the_prompt_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest, match="--template") as raised:
        template_of(content)
    assert said in raised.value.problem


def test_a_template_with_the_placeholder_in_any_text_is_taken() -> None:
    body = template_of(b'{"messages": [{"content": [{"text": "a{prompt}b{prompt}"}]}]}')
    row = json.loads(Form(body, CHAT).line(1, "-"))
    assert row["body"]["messages"][0]["content"][0]["text"] == "a-b-"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"one\n" + b"x" * (MOST + 1), "more than 1,000 bytes in line 2"),
        (b"y" * MOST + b"y\none", "more than 1,000 bytes in line 1"),
        (b"one\n\ntw\xff\n", "is no UTF-8 in line 3"),
    ],
)
def test_a_line_that_is_no_prompt_is_named(content: bytes, said: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        prompts_of(content)
    assert said in raised.value.problem


def test_a_content_that_grows_too_large_is_refused() -> None:
    file = io.BytesIO(b'{"body": {}}\n' * 100)
    with pytest.raises(InvalidRequest, match="more than 1,000 bytes; split it"):
        copy(head_of(file), file, Counted(io.BytesIO(), 1_000))


def test_jsonl_is_passed_on_as_it_is_with_its_blank_lines() -> None:
    content = b'\n\n{"body": {}}\nno json\n'
    file, into = io.BytesIO(content), io.BytesIO()
    copy(head_of(file), file, Counted(into, 1_000))
    assert into.getvalue() == content


@pytest.mark.parametrize("content", [b"", b"\n", b" \n\t\n"])
def test_a_file_without_anything_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidRequest, match="FILE: is empty"):
        head(content)


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b'{"body": {}}', {}, False),
        (b'\n \n{"body": {}}\nx', {}, False),
        (b"[1]", {}, True),
        (b"hello", {}, True),
        (b'say {"body": {}}', {}, True),
        (b"hello", {"jsonl": True}, False),
        (b'{"body": {}}', {"text": True}, True),
        # What was to be a row is one, and its fault is told.
        (b'{"text": "x"}', {}, False),
        (b'{"body": {}', {}, False),
        (b'\xef\xbb\xbf  {"custom_id": "a", "body": {"model": "m",}}', {}, False),
        (b'{"body": {},}', {"file": Path("-")}, False),
        (b"[1]", {"file": Path("rows.jsonl")}, False),
        (b"hello", {"file": Path("in.d/ROWS.NDJSON")}, False),
        (b"hello", {"file": Path("rows.jsonl.txt")}, True),
        # Unless it is said to be none.
        (b'{"custom_id": "a"}', {"file": Path("rows.jsonl"), "text": True}, True),
        (b'{"text": "x"}', {"template": Path("t")}, True),
        (b"hello", {"file": Path("rows.jsonl"), "template": Path("t")}, True),
    ],
)
def test_its_name_its_first_line_or_an_option_tells_prompts_from_jsonl(
    content: bytes, options: dict[str, Any], expected: bool
) -> None:
    assert has_prompts(wish(**options), head(content)) is expected


@pytest.mark.parametrize(
    ("option", "given"),
    [("model", "m"), ("system", "s"), ("params", ["a=1"]), ("template", Path("t"))],
)
def test_options_for_prompts_are_refused_beside_jsonl(option: str, given: object) -> None:
    with pytest.raises(InvalidRequest, match="is given for JSONL"):
        has_prompts(wish(**{option: given}), head(b'{"body": {}}'))


@pytest.mark.parametrize("first", [b"hello", b'{"custom_id": "a", "body": {},}'])
def test_a_model_for_rows_with_a_faulty_first_line_is_refused(first: bytes) -> None:
    with pytest.raises(InvalidRequest, match="--model: is given for JSONL"):
        has_prompts(wish(file=Path("rows.jsonl"), model="m"), head(first))


@pytest.mark.parametrize(
    ("line", "given", "expected"),
    [
        (b'{"url": "/v1/responses", "body": {}}', None, RESPONSES),
        (b'{"url": "/chat/completions", "body": {}}', None, CHAT),
        (b'{"url": "/v1/responses", "body": {}}', CHAT, CHAT),
        (b'{"url": "/v1/embeddings", "body": {}}', None, "/v1/embeddings"),
        (b'{"body": {}}', None, CHAT),
        (b"no json", None, CHAT),
    ],
)
def test_the_first_line_tells_the_endpoint(line: bytes, given: str | None, expected: str) -> None:
    request = batch_request(wish(endpoint=given), head(line), "file-1", prompts=False)
    assert (request["endpoint"], request["mixed_models"]) == (expected, True)


def test_terms_that_were_not_given_are_no_fields_of_the_request() -> None:
    asked = wish(metadata=["run=7"], terms={"priority": 5, "webhook": None})
    assert batch_request(asked, head(b"hello"), "file-1", prompts=True) == {
        "input_file_id": "file-1",
        "endpoint": CHAT,
        "mixed_models": False,
        "metadata": {"run": "7"},
        "priority": 5,
    }


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidRequest, match="missing cannot be read"),
        opened(tmp_path / "missing"),
    ):
        pass


@pytest.mark.parametrize(
    ("max_cost", "ratio", "said"),
    [
        (1e13, None, "--max-cost: is 1e+13; give a number above 0 and at most 1e+12"),
        (float("inf"), None, "--max-cost: is inf; give a number above 0 and at most 1e+12"),
        (None, 1.5, "--max-failed-ratio: is 1.5; give a number above 0 and at most 1"),
    ],
)
def test_limits_that_the_gateway_refuses_are_refused_by_the_name_of_their_option(
    max_cost: float | None, ratio: float | None, said: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        check_limits(max_cost, ratio)
    assert str(refused.value) == said
    check_limits(1e12, 1.0)
