"""What a request for a response comes to as a chat-completions body."""

from typing import Any

import pytest

from worker.errors import InvalidRequest, Unsupported
from worker.gateway.refusals import refusal_of
from worker.openai.responses.translation import continued, conversation, translated

CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "yes"}


def body(**given: object) -> dict[str, Any]:
    return translated({"model": "m", "input": "hi", **given}).body


def messages(*items: object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body(input=list(items))["messages"]
    return found


def test_a_text_is_a_users_message() -> None:
    assert body() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_parameters_go_by_the_names_of_chat_completions() -> None:
    schema = {"type": "object"}
    assert body(
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": None},
        text={"format": {"type": "json_schema", "name": "n", "schema": schema}, "verbosity": "low"},
        tools=[{"type": "function", "name": "f", "parameters": schema, "strict": None}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        top_p=None,
    ) == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}},
        "verbosity": "low",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    }


@pytest.mark.parametrize("choice", ["auto", "none"])
def test_a_choice_among_no_tools_is_none(choice: str) -> None:
    assert "tool_choice" not in body(tool_choice=choice)


def test_calls_that_were_made_together_are_one_message() -> None:
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "let me see"}]}
    second = {**CALL, "call_id": "c2"}
    found = messages(said, CALL, second, OUTPUT, {**OUTPUT, "call_id": "c2"}, CALL)
    assert [message["role"] for message in found] == [
        "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    assert [call["id"] for call in found[0]["tool_calls"]] == ["c1", "c2"]
    assert found[0]["content"] == "let me see"
    assert found[1] == {"role": "tool", "tool_call_id": "c1", "content": "yes"}
    assert found[3]["content"] is None


def test_earlier_reasoning_is_left_out() -> None:
    thought = {"type": "reasoning", "id": "rs", "summary": []}
    asked = {"role": "user", "content": "x"}
    assert messages(thought, asked) == [asked]
    with pytest.raises(Unsupported, match="encrypted_content"):
        messages({"type": "reasoning", "summary": [], "encrypted_content": "gAAA"})


def test_a_refusal_is_a_refusal_again() -> None:
    parts = [{"type": "refusal", "refusal": "no"}]
    assert messages({"role": "assistant", "content": parts}) == [
        {"role": "assistant", "content": None, "refusal": "no"}
    ]


def test_only_its_own_instructions_precede_a_conversation() -> None:
    first = translated({"model": "m", "input": "one", "instructions": "a"})
    second = translated({"model": "m", "input": "two", "instructions": "b"})
    both = continued(second.body, second.fields, conversation(first.body, first.fields))
    found: Any = both["messages"]
    assert [message["content"] for message in found] == ["b", "one", "two"]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"input": []}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{**CALL, "name": 5}]}, "input[0].name"),
        ({"input": [{**OUTPUT, "output": None}]}, "input[0].output"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
         "input[0].content[0].text"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": "x"}, "tools"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"reasoning": {"effort": 3}}, "reasoning.effort"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"include": "x"}, "include"),
        ({"text": "x"}, "text"),
        ({"previous_response_id": 5}, "previous_response_id"),
        ({"stream": 1}, "stream"),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused_by_field(given: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        body(**given)
    assert refused.value.field == field


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"input": [{"type": "file_search_call"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"role": "assistant", "content": [{"type": "summary_text"}]}]},
         "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "x"}]}]},
         "input[0].content[0].file_url"),
        ({"tools": [{"type": "function", "name": "f", "defer_loading": True}]},
         "tools[0].defer_loading"),
        ({"text": {"stop": 1}}, "text.stop"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}},
         "stream_options.include_obfuscation"),
        ({"moderation": {"model": "x"}}, "moderation"),
    ],
)  # fmt: skip
def test_what_a_chat_cannot_do_is_refused_by_name(given: dict[str, object], param: str) -> None:
    with pytest.raises(Unsupported) as refused:
        body(**given)
    refusal = refusal_of(refused.value)
    assert (refusal.status, refusal.error["param"]) == (400, param)
    assert refusal.error["code"] == "unsupported_parameter"
