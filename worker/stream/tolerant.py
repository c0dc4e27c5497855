"""Chunks that the typed decoder refuses, read for what they mean.

Here come the unusual ones: unknown keys worth keeping, a whole completion in place of a chunk,
numbers as texts and texts as numbers, content as a list of parts, arguments as an object. What
is not understood is kept as `extra` and never dropped, unless it is empty or known noise.
"""

from collections.abc import Iterator

import msgspec

from worker.stream.extras import cleaned
from worker.stream.wire import (
    Choice,
    Chunk,
    Delta,
    Extra,
    FunctionDelta,
    ToolCallDelta,
    Usage,
    XGroq,
    noise_of,
)
from worker.text import repair, repair_document

Document = dict[str, object]

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")
_DELTA_KEYS = noise_of(Delta) | {*_TEXTS, "tool_calls"}
_CALL_KEYS = noise_of(ToolCallDelta) | {"index", "id", "function"}
_FUNCTION_KEYS = frozenset({"name", "arguments"})
_CHOICE_KEYS = noise_of(Choice) | {
    "index",
    "delta",
    "message",
    "finish_reason",
    "native_finish_reason",
}


def chunk_from(document: Document) -> Chunk:
    """The chunk that `document` means; of a whole completion, the chunk that says it all.

    Raises:
        ValueError: `choices` is no list of objects.
    """
    x_groq = document.get("x_groq")
    return Chunk(
        id=_word(document.get("id")),
        model=_word(document.get("model")),
        choices=[_choice(item) for item in _objects(document.get("choices"))],
        usage=_usage(document.get("usage")),
        x_groq=XGroq(usage=_usage(x_groq.get("usage"))) if isinstance(x_groq, dict) else None,
    )


def _objects(value: object) -> Iterator[Document]:
    if value is None:
        return
    if not isinstance(value, list):
        raise ValueError("choices is not a list")  # noqa: TRY004 - the document's fault, not ours
    for item in value:
        if isinstance(item, dict):
            yield item
        elif item is not None:
            raise ValueError("a choice is not an object")


def _choice(item: Document) -> Choice:
    extra = _unknown(item, _CHOICE_KEYS)
    # A completion that is not streamed has a message; some upstreams send it beside the delta.
    said = item.get("delta")
    if said is None:
        said = item.get("message")
    delta = None
    if isinstance(said, dict):
        delta = _delta(said, extra)
    elif _informative(said):
        extra["delta"] = said
    return Choice(
        index=_integer(item.get("index")) or 0,
        delta=delta,
        finish_reason=_word(item.get("finish_reason")),
        native_finish_reason=_word(item.get("native_finish_reason")),
        extra=cleaned(extra),
    )


def _delta(item: Document, extra: Extra) -> Delta:
    extra.update(_unknown(item, _DELTA_KEYS))
    said = {key: _text(key, item.get(key), extra) for key in _TEXTS}
    return Delta(
        content=said["content"],
        reasoning_content=said["reasoning_content"],
        reasoning=_thinking(item.get("content")) or said["reasoning"],
        refusal=said["refusal"],
        tool_calls=_tool_calls(item.get("tool_calls"), extra),
    )


def _text(key: str, value: object, extra: Extra) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, list):
        rest = [part for part in value if not _is_part(part, "text", "thinking")]
        if rest:
            extra[key] = rest
        return _joined(value)
    if _informative(value):
        extra[key] = value
    return None


def _joined(parts: object) -> str:
    """The texts of content parts, in OpenAI's form `{"type": "text", "text": "..."}`."""
    if not isinstance(parts, list):
        return parts if isinstance(parts, str) else ""
    return "".join(
        part if isinstance(part, str) else str(part.get("text") or "")
        for part in parts
        if _is_part(part, "text")
    )


def _thinking(content: object) -> str:
    """Mistral's reasoning: content parts of type `thinking`, which hold text parts themselves."""
    if not isinstance(content, list):
        return ""
    return "".join(
        _joined(part.get("thinking"))
        for part in content
        if isinstance(part, dict) and part.get("type") == "thinking"
    )


def _is_part(part: object, *types: str) -> bool:
    return isinstance(part, str) or (isinstance(part, dict) and part.get("type") in types)


def _tool_calls(value: object, extra: Extra) -> list[ToolCallDelta] | None:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        if _informative(value):
            extra["tool_calls"] = value
        return None
    unknown = [_unknown_of_call(item) for item in value]
    if any(unknown):
        extra["tool_calls"] = unknown
    return [_tool_call(item) for item in value]


def _tool_call(item: Document) -> ToolCallDelta:
    function = item.get("function")
    return ToolCallDelta(
        index=_integer(item.get("index")),
        id=_word(item.get("id")),
        function=_function(function) if isinstance(function, dict) else None,
    )


def _function(item: Document) -> FunctionDelta:
    arguments = item.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        # Ollama's own form: an object where OpenAI has its text.
        arguments = msgspec.json.encode(repair_document(arguments)).decode()
    return FunctionDelta(name=_word(item.get("name")), arguments=arguments)


def _unknown_of_call(item: Document) -> Extra:
    """What a tool call says beyond the known (Gemini: `extra_content`, a signature of thought)."""
    unknown = _unknown(item, _CALL_KEYS)
    function = item.get("function")
    if isinstance(function, dict) and (inner := _unknown(function, _FUNCTION_KEYS)):
        unknown["function"] = inner
    return unknown


def _unknown(item: Document, known: frozenset[str]) -> Extra:
    return {key: value for key, value in item.items() if key not in known and _informative(value)}


def _informative(value: object) -> bool:
    return value is not None and value not in ("", [], {})


def _usage(value: object) -> Usage | None:
    return value if isinstance(value, dict) and value else None


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return repair(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _integer(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return int(value)
    except (ValueError, OverflowError):
        return None
