"""The chat.completion.chunk as msgspec types: what is needed of it, and what may be skipped.

A choice, a delta and a tool call list every key they may have; one that is not listed, or a
known one with a value it should not have, makes the typed decoder refuse, and the event takes
the tolerant path, which keeps it as `extra`. So on the common path keeping unknown keys costs
nothing but the look-up of their names, and no chunk is ever decoded twice because of noise.
"""

from typing import Annotated

import msgspec

# Says nothing a reader could miss. Raw: skipped, not built.
Noise = msgspec.Raw
# Informative unless empty: an item in it sends the event down the tolerant path.
Empty = Annotated[list[object], msgspec.Meta(max_length=0)] | None

Extra = dict[str, object]
Usage = dict[str, object]

_NO_NOISE = msgspec.Raw()


class FunctionDelta(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """The name of the function called, and a piece of its arguments."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A piece of one tool call. Gemini leaves the index out; others repeat id and name as null."""

    index: int | None = None
    id: str | None = None
    function: FunctionDelta | None = None
    type: Noise = _NO_NOISE


class Delta(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """What one chunk adds to one choice.

    `reasoning_content` (DeepSeek, Qwen, vLLM, SGLang, Kimi) and `reasoning` (OpenRouter, Groq,
    Ollama) name the same channel; some upstreams send both.
    """

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCallDelta] | None = None
    role: Noise = _NO_NOISE
    obfuscation: Noise = _NO_NOISE
    token_id: Noise = _NO_NOISE
    function_call: None = None
    audio: None = None
    provider_specific_fields: None = None
    hidden_states: None = None
    annotations: Empty = None
    reasoning_details: Empty = None


class Choice(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """One choice of a chunk. `extra`: what it says beyond this, from the choice and its delta.

    Never set together with `logprobs`: that is an extra too, typed because a request for it
    brings it with every chunk.
    `text` and `seed` are Together's: the text of the delta once more, and a number.
    """

    index: int = 0
    delta: Delta | None = None
    finish_reason: str | None = None
    native_finish_reason: str | None = None
    logprobs: Extra | None = None
    # Never on the wire under this name: only the tolerant path sets it.
    extra: Extra | None = msgspec.field(default=None, name=" extra")
    content_filter_results: Noise = _NO_NOISE
    content_filter_offsets: Noise = _NO_NOISE
    text: Noise = _NO_NOISE
    seed: Noise = _NO_NOISE
    stop_reason: None = None
    matched_stop: None = None
    token_ids: None = None


class XGroq(msgspec.Struct, frozen=True, gc=False):
    """Groq's own corner: why a stream was stopped early, and the usage."""

    error: object = None
    usage: Usage | None = None


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One chunk. Unknown keys at this level describe the request, not the output: ignored."""

    id: str | None = None
    model: str | None = None
    choices: list[Choice] = []
    usage: Usage | None = None
    error: object = None
    x_groq: XGroq | None = None


def noise_of(struct: type[msgspec.Struct]) -> frozenset[str]:
    """The keys of `struct` that are noise whatever their value."""
    return frozenset(
        field.encode_name for field in msgspec.structs.fields(struct) if field.type is Noise
    )
