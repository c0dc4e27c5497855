"""The parameters of `POST /v1/responses`: which there are, and which a chat cannot serve."""

from collections.abc import Mapping

from worker.errors import InvalidRequest, Unknown, Unsupported
from worker.request import named, shown

# Passed on to chat completions by the same name.
SAME = (
    "model", "parallel_tool_calls", "prompt_cache_key", "prompt_cache_retention",
    "safety_identifier", "service_tier", "temperature", "top_p", "user",
)  # fmt: skip
# Translated, or between the client and us.
OURS = (
    "background", "include", "input", "instructions", "max_output_tokens", "metadata",
    "previous_response_id", "reasoning", "store", "stream", "stream_options", "text",
    "tool_choice", "tools", "top_logprobs", "truncation",
)  # fmt: skip
# What a response repeats of its request.
REPEATED = (
    "background", "instructions", "max_output_tokens", "parallel_tool_calls",
    "previous_response_id", "prompt_cache_key", "reasoning", "safety_identifier", "service_tier",
    "store", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "user",
)  # fmt: skip
# What the chat endpoint of an upstream has no means for, and what to do instead.
UNSUPPORTED: Mapping[str, str] = {
    "access_programs": "leave it out",
    "background_options": "leave it out",
    "context_management": "send the items themselves",
    "conversation": "use previous_response_id, or send the items themselves",
    "image": "leave it out",
    "max_tool_calls": "leave it out: it counts calls of built-in tools, and there are none",
    "moderation": "leave it out",
    "prompt": "send instructions and input",
    "prompt_cache_options": "leave it out",
}


def given_of(body: Mapping[str, object]) -> dict[str, object]:
    """The parameters that were given: null is not.

    Raises:
        Unknown, Unsupported: one is.
    """
    given = {name: value for name, value in body.items() if value is not None}
    for name in given:
        if name in UNSUPPORTED:
            raise Unsupported(name, "is not for a chat", UNSUPPORTED[name])
        if name not in SAME and name not in OURS:
            raise Unknown(named(name), "is no parameter of a response", "leave it out")
    return given


def flag(given: Mapping[str, object], name: str, unsaid: bool) -> bool:
    """A parameter that is true or false.

    Raises:
        InvalidRequest: it is neither.
    """
    value = given.get(name, unsaid)
    if not isinstance(value, bool):
        raise InvalidRequest(name, f"is {shown(value)}", "give true or false")
    return value
