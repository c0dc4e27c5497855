"""Events become chunks, errors or nothing; no event that matters is skipped."""

import json
from typing import Any

import pytest

from worker.errors import Category, UpstreamError
from worker.stream.chunks import DONE, Origin, decode
from worker.stream.sse import Event
from worker.stream.wire import Choice, Chunk


def decoded(document: object, **event: Any) -> Chunk:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    chunk = decode(Event(data, **event))
    assert isinstance(chunk, Chunk)
    return chunk


def choice_of(choice: object, **event: Any) -> Choice:
    return decoded({"choices": [choice]}, **event).choices[0]


def refused(data: bytes, origin: Origin | None = None, **event: Any) -> UpstreamError:
    with pytest.raises(UpstreamError) as caught:
        decode(Event(data, **event), origin or Origin())
    return caught.value


def test_a_common_chunk_is_read_by_the_typed_decoder() -> None:
    chunk = decoded(
        {
            "id": "c1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": None}],
            "usage": None,
            "obfuscation": "r4N7",
        }
    )
    assert (chunk.id, chunk.model, chunk.usage) == ("c1", "m", None)
    assert chunk.choices[0].delta is not None
    assert chunk.choices[0].delta.content == "hi"


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] ", b"[DONE]\n"])
def test_done_is_recognised(data: bytes) -> None:
    assert decode(Event(data)) is DONE
    assert decode(Event(data, b"done")) is DONE


@pytest.mark.parametrize("data", [b"", b"{}", b"plain text", b'{"type": "ping"}', b'{"error": 1}'])
def test_a_ping_is_nothing_whatever_its_data(data: bytes) -> None:
    assert decode(Event(data, b"ping")) is None


@pytest.mark.parametrize("data", [b"", b" \n"])
def test_an_event_with_empty_data_is_nothing(data: bytes) -> None:
    assert decode(Event(data)) is None


@pytest.mark.parametrize(
    "data",
    [
        b"oops",
        b'{"choices": [{"delta": {"content": "x"',
        b"null",
        b"17",
        b'"text"',
        b"[]",
        b"[{}, {}]",
        b'{"choices": {"index": 0}}',
        b'{"choices": [17]}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": ' + b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"choices":[{"delta":{"content":NaN}}]}',
        b'{"choices":[{"delta":{"content":-Infinity}}]}',
        b'{"choices":[{"delta":{"content":1e999}}]}',
        b'{"choices":[{"delta":{"content":["a",NaN]}}]}',
        b'{"choices":[{"delta":{"content":[{"type":"text","text":NaN}]}}]}',
        b'{"choices":[{"delta":{"reasoning":NaN}}]}',
        b'{"choices":[{"delta":{"refusal":NaN}}]}',
        b'{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":NaN}}]}}]}',
        b'{"choices":[{"delta":NaN}]}',
        b'{"choices":[{"message":{"content":NaN}}]}',
        b'{"choices":[NaN]}',
        b'{"choices":NaN}',
    ],
    ids=lambda data: data[-48:].decode(),
)
def test_what_is_no_chunk_fails_the_attempt(data: bytes) -> None:
    error = refused(data)
    assert (error.category, error.code) == (Category.TRUNCATED, "malformed_chunk")
    assert error.message == f"the upstream sent an event of {len(data)} bytes that is no chunk"


def test_a_named_event_with_plain_text_is_not_for_us() -> None:
    assert decode(Event(b"ok", b"heartbeat")) is None
    assert decode(Event(b"17", b"heartbeat")) is None


def test_a_named_event_with_broken_json_may_have_been_a_chunk() -> None:
    assert refused(b'{"choices": [', type=b"chunk").code == "malformed_chunk"


def test_a_named_event_may_carry_a_chunk() -> None:
    assert choice_of({"delta": {"content": "x"}}, type=b"chunk").delta is not None


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', "a\ud83d"),
        (b'{"choices":[{"delta":{"content":"a\xffb"}}]}', "a\ufffdb"),
        (b'{"choices":[{"delta":{"content":"a"},"x":NaN}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"x":1e999}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a","x":{"content":NaN}}}]}', "a"),
        (b'{"created":NaN,"usage":{"cost":NaN},"choices":[{"delta":{"content":"a"}}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"logprobs":{"content":[{"logprob":NaN}]}}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"logprobs":NaN,"finish_reason":NaN}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a\nb"}}]}', "a\nb"),
        (b'{"choices":[{"delta":{"content":"a"},"index":"0"}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"index":null}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"index":"first"}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"index":0.0}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"index":true}]}', "a"),
        (b'{"choices":[{"delta":{"content":"a"},"index":1e400}]}', "a"),
        (b'{"choices":[{"delta":{"content":42}}]}', "42"),
        (b'{"choices":[null,{"delta":{"content":"a"}}]}', "a"),
        (b'[{"choices":[{"delta":{"content":"a"}}]}]', "a"),
        (b'{"created":%s,"choices":[{"delta":{"content":"a"}}]}' % (b"9" * 40), "a"),
    ],
)
def test_an_odd_chunk_is_read_for_what_it_means(data: bytes, content: str) -> None:
    (choice,) = decoded(data).choices
    assert choice.index == 0
    assert choice.delta is not None
    assert choice.delta.content == content


@pytest.mark.parametrize("choices", [None, []])
def test_a_chunk_without_choices_may_carry_usage(choices: object) -> None:
    chunk = decoded({"choices": choices, "usage": {"total_tokens": 3}, "model": "m", "id": 5})
    assert (chunk.choices, chunk.usage, chunk.model, chunk.id) == (
        [],
        {"total_tokens": 3},
        "m",
        "5",
    )


def test_groqs_corner_gives_usage() -> None:
    chunk = decoded({"choices": [], "x_groq": {"id": "r", "usage": {"total_tokens": 3}}})
    assert chunk.x_groq is not None
    assert chunk.x_groq.usage == {"total_tokens": 3}


def test_azures_filter_chunks_are_no_errors() -> None:
    chunk = decoded({"choices": [], "prompt_filter_results": [{"error": {"code": "x"}}], "id": ""})
    assert chunk.choices == []
    choice = choice_of({"index": 0, "finish_reason": None, "content_filter_offsets": {"a": 1}})
    assert (choice.delta, choice.extra) == (None, None)
    broken = {"error": {"code": "content_filter_error", "message": "timed out"}}
    choice = choice_of({"delta": {"content": "a"}, "content_filter_results": broken})
    assert choice.extra is None


@pytest.mark.parametrize(
    "noise",
    [
        {"finish_reason": None, "native_finish_reason": None, "logprobs": None},
        {"stop_reason": None, "matched_stop": None, "token_ids": None},
        {"text": "a", "seed": 7, "mystery": None, "other": [], "third": {}, "fourth": ""},
        {"message": {"content": "the delta says it"}},
    ],
)
def test_noise_is_no_extra(noise: dict[str, object]) -> None:
    delta: dict[str, object] = {"role": "assistant", "function_call": None, "audio": None}
    delta |= {"annotations": [], "reasoning_details": [], "obfuscation": "x", "token_id": 9}
    odds: list[dict[str, object]] = [{"content": "a"}, {"content": {}}, {"unheard_of": None}]
    for odd in odds:
        assert choice_of({"index": 0, "delta": delta | odd, **noise}).extra is None
    assert choice_of({"delta": "", "unheard_of": None}).extra is None


@pytest.mark.parametrize(
    ("choice", "extra"),
    [
        ({"delta": {}, "stop_reason": 128001}, {"stop_reason": 128001}),
        ({"delta": {"audio": {"id": "a"}}}, {"audio": {"id": "a"}}),
        ({"delta": {"annotations": [{"type": "x"}]}}, {"annotations": [{"type": "x"}]}),
        ({"delta": {"reasoning_details": [1]}}, {"reasoning_details": [1]}),
        ({"delta": {"function_call": {"name": "f"}}}, {"function_call": {"name": "f"}}),
        ({"delta": {"mystery": False}, "riddle": 0}, {"mystery": False, "riddle": 0}),
        ({"delta": {"content": {"odd": 1}}}, {"content": {"odd": 1}}),
        ({"delta": {"content": True}}, {"content": True}),
        ({"delta": {"tool_calls": {"odd": 1}}}, {"tool_calls": {"odd": 1}}),
        ({"delta": "text?"}, {"delta": "text?"}),
        ({"delta": {"x": "a\0\ud83d"}}, {"x": "a\ufffd\ufffd"}),
    ],
)
def test_what_is_not_understood_is_kept_as_extra(choice: object, extra: object) -> None:
    assert choice_of(choice).extra == extra


def test_numbers_that_json_does_not_have_become_null_in_an_extra() -> None:
    chunk = decoded(b'{"choices":[{"delta":{"x":[NaN,-Infinity,1e999]}}]}')
    assert chunk.choices[0].extra == {"x": [None, None, None]}


def test_an_extra_nested_too_deeply_to_be_walked_does_no_harm() -> None:
    deep = b'{"a":' * 400 + b'"\\ud83d"' + b"}" * 400
    choice = decoded(b'{"choices":[{"delta":{"content":"a","x":' + deep + b"}}]}").choices[0]
    assert choice.delta is not None
    assert choice.delta.content == "a"


def test_logprobs_are_kept_on_both_paths() -> None:
    logprobs = {"content": [{"token": "a", "logprob": -0.1, "bytes": [97]}]}
    assert choice_of({"delta": {"content": "a"}, "logprobs": logprobs}).logprobs == logprobs
    odd = choice_of({"delta": {"content": "a"}, "logprobs": logprobs, "odd": 1})
    assert odd.extra == {"logprobs": logprobs, "odd": 1}


def test_what_a_tool_call_says_beyond_the_known_is_kept_in_its_place() -> None:
    signature = {"google": {"thought_signature": "c2ln"}}
    function = {"name": "f", "arguments": {"a": 1}, "strict": True}
    calls = [{"id": 7, "function": function, "extra_content": signature}, {"index": 1}]
    choice = choice_of({"delta": {"tool_calls": calls}})
    assert choice.extra == {
        "tool_calls": [{"extra_content": signature, "function": {"strict": True}}, {}]
    }
    assert choice.delta is not None
    assert choice.delta.tool_calls is not None
    first, second = choice.delta.tool_calls
    assert (first.index, first.id, second.index, second.function) == (None, "7", 1, None)
    assert first.function is not None
    assert (first.function.name, first.function.arguments) == ("f", '{"a":1}')


def test_content_parts_are_text_and_thinking() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    image = {"type": "image_url", "image_url": "data:"}
    text = {"type": "text", "text": "so"}
    choice = choice_of({"delta": {"content": [thinking, text, "!", image]}})
    assert choice.delta is not None
    assert (choice.delta.content, choice.delta.reasoning) == ("so!", "hm")
    assert choice.extra == {"content": [image]}
    plain = choice_of({"delta": {"content": [{"type": "thinking", "thinking": "hm"}]}})
    assert plain.delta is not None
    assert plain.delta.reasoning == "hm"


def test_a_whole_completion_is_one_chunk_that_says_it_all() -> None:
    message = {"role": "assistant", "content": "hi", "tool_calls": [{"id": "c1", "function": {}}]}
    document = {"object": "chat.completion", "choices": [{"message": message}], "usage": {"a": 1}}
    document["choices"][0]["finish_reason"] = "stop"  # type: ignore[index]
    chunk = decoded(document)
    (choice,) = chunk.choices
    assert choice.delta is not None
    assert (choice.delta.content, choice.finish_reason, chunk.usage) == ("hi", "stop", {"a": 1})


def test_a_pending_event_proves_nothing() -> None:
    assert decode(Event(b"[DONE]", pending=True)) is None
    choice = choice_of({"delta": {"content": "a"}, "finish_reason": "stop"}, pending=True)
    assert choice.delta is not None
    assert (choice.delta.content, choice.finish_reason) == ("a", None)


@pytest.mark.parametrize(
    ("data", "event_type"),
    [
        (b'{"error":{"code":"boom"}}', None),
        (b'{"error":{"code":"boom"},"choices":[]}', None),
        (b'{"error":{"code":"boom"},"choices":[{"delta":{"content":"x"}}]}', None),
        (b'{"error":[{"code":"boom"}]}', None),
        (b'[{"error":{"code":"boom"}}]', None),
        (b'{"object":"error","message":"x","code":"boom"}', None),
        (b'{"type":"error","code":"boom","message":"x"}', None),
        (b'{"code":"boom","message":"x"}', b"error"),
        (b'{"choices":[{"delta":{"content":""},"error":{"code":"boom"}}]}', None),
        (b'{"error":{"message":"{\\"error\\":{\\"code\\":\\"boom\\"}}"}}', None),
        (b'{"error":{"code":"boom"}}', b"unheard-of"),
    ],
)
def test_an_error_is_recognised_in_every_shape(data: bytes, event_type: bytes | None) -> None:
    assert refused(data, type=event_type).code == "boom"
    assert refused(data, type=event_type, pending=True).code == "boom"


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":"Model is overloaded","error_type":"overloaded"}',
        b'{"error":"something broke"}',
        b'{"message":"Requests rate limit exceeded"}',
        b'{"detail":"Unauthorized"}',
        b'{"choices":[{"delta":{}}],"x_groq":{"error":"over capacity"}}',
        b'{"choices":[],"error":{"code":502,"message":"x"}}',
    ],
)
def test_an_error_without_a_code_is_an_error(data: bytes) -> None:
    assert refused(data).status == 200


@pytest.mark.parametrize(
    "data",
    [b"the server is on fire", b'{"error": tru', b"null", b"{}", b"", b" ", b"[DONE]", b" [DONE]"],
)
def test_whatever_an_error_event_holds_it_is_an_error(data: bytes) -> None:
    assert refused(data, type=b"error").code != "malformed_chunk"


@pytest.mark.parametrize("name", [b"status", b"info", b"notice", b"Error", b"queue.update"])
@pytest.mark.parametrize(
    "data",
    [
        b'{"message":"queued"}',
        b'{"detail":"position 3"}',
        b'{"type":"notice","message":"maintenance at noon"}',
        b'{"code":"warming_up","message":"soon"}',
        b'{"detail":[{"msg":"x"}]}',
        b'[{"message":"queued"}]',
    ],
)
def test_an_event_of_an_unknown_name_may_have_a_message(data: bytes, name: bytes) -> None:
    assert decode(Event(data, name)) in (None, Chunk())
    assert refused(data).category is Category.UNKNOWN
    assert refused(data, type=b"error").category is Category.UNKNOWN


@pytest.mark.parametrize(
    "data",
    [
        b'{"error":"boom"}',
        b'[{"error":{"code":"boom"}}]',
        b'{"choices":[],"x_groq":{"error":"boom"}}',
        b'{"choices":[{"error":{"code":"boom"}}]}',
    ],
)
def test_a_wrapped_error_is_one_under_any_name(data: bytes) -> None:
    assert refused(data, type=b"status").status == 200


@pytest.mark.parametrize("error", [None, {}, ""])
def test_an_empty_error_is_none(error: object) -> None:
    chunk = decoded({"error": error, "choices": [{"delta": {"content": "a"}}]})
    assert chunk.choices[0].delta is not None


@pytest.mark.parametrize("odd", [{}, {"odd": 1}])
@pytest.mark.parametrize(
    ("reasons", "code"),
    [
        ({"finish_reason": "error"}, "error"),
        ({"finish_reason": "abort"}, "abort"),
        ({"finish_reason": "insufficient_system_resource"}, "insufficient_system_resource"),
        ({"finish_reason": "stop", "native_finish_reason": "network_error"}, "network_error"),
        ({"finish_reason": None, "native_finish_reason": "error"}, "error"),
    ],
)
def test_a_finish_reason_that_is_a_failure_fails_the_attempt(
    reasons: dict[str, object], code: str, odd: dict[str, object]
) -> None:
    data = json.dumps({"choices": [{"delta": {}, **reasons, **odd}]}).encode()
    assert refused(data).code == code


@pytest.mark.parametrize("reason", ["stop", "length", "content_filter", "eos", "end_turn", "", 7])
def test_other_finish_reasons_are_kept_as_they_came(reason: object) -> None:
    assert choice_of({"delta": {}, "finish_reason": reason}).finish_reason == str(reason)


def test_an_error_is_classified_by_the_response_it_came_in() -> None:
    body = b'{"error":{"code":"rate_limit_exceeded","message":"slow"}}'
    origin = Origin(headers={"retry-after": "7"})
    assert refused(body, origin).retry_after_s == 7.0
