"""Prompts and answers in the form of `gen_ai.input.messages` and `gen_ai.output.messages`.

A message is a role and parts (the conventions' JSON schemas of the two attributes); attributes of
spans hold no objects, so each list is a JSON document. Only `DELTAWORKS_TRACE_CONTENT` asks for it.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from worker.upstream import Exchange


def prompt_of(exchange: "Exchange") -> dict[str, str]:
    """The attribute that holds the request's messages."""
    messages = exchange.request.body.get("messages")
    told = (
        [_message(each) for each in messages if isinstance(each, Mapping)]
        if isinstance(messages, list)
        else []
    )
    return {"gen_ai.input.messages": msgspec.json.encode(told).decode()}


def answer_of(exchange: "Exchange") -> dict[str, str]:
    """The attribute that holds what came, choice by choice."""
    told = []
    for message in exchange.transcript.output():
        reason = message.get("finish_reason") or "error"
        told.append({**_message({"role": "assistant", **message}), "finish_reason": reason})
    return {"gen_ai.output.messages": msgspec.json.encode(told).decode()}


def _message(message: Mapping[str, object]) -> dict[str, object]:
    return {"role": message.get("role"), "parts": list(_parts(message))}


def _parts(message: Mapping[str, object]) -> Iterator[dict[str, object]]:
    content = message.get("content")
    if message.get("role") == "tool":
        yield {"type": "tool_call_response", "id": message.get("tool_call_id"), "result": content}
        return
    if reasoning := message.get("reasoning"):
        yield {"type": "reasoning", "content": reasoning}
    for text in (content, message.get("refusal")):
        if isinstance(text, str) and text:
            yield {"type": "text", "content": text}
    for part in content if isinstance(content, list) else ():
        if isinstance(part, Mapping) and part.get("type") == "text":
            yield {"type": "text", "content": part.get("text")}
        elif isinstance(part, Mapping):
            yield dict(part)
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function", {})
        yield {
            "type": "tool_call",
            "id": call.get("id"),
            "name": function.get("name"),
            "arguments": function.get("arguments"),
        }
