"""The chat-completions body: what no upstream can understand is refused, the rest passed on."""

import math
from collections.abc import Callable, Mapping

import msgspec

from worker.catalog import Catalog
from worker.errors import InvalidRequest, ModelNotServed
from worker.request.values import depth_exceeds, object_of, shown
from worker.text import repair, repair_document

MODEL_NAME = 255
# Deeper than any tool schema in use, and far from the interpreter's recursion limit.
MAX_DEPTH = 100

# Far more than any model's context holds; looking at each must not hold up all others.
MOST_MESSAGES = 10_000

ROLES = ("system", "developer", "user", "assistant", "tool", "function")

# Parameters of other endpoints, and what would let a request choose where a key is sent.
REFUSED = {
    "input": "is a parameter of the Responses API; put the conversation into messages",
    "instructions": "is a parameter of the Responses API; send a system message",
    "previous_response_id": "is a parameter of the Responses API; send the messages themselves",
    "background": "is a parameter of the Responses API; leave it out, every job is",
    "prompt": "is a parameter of the legacy completions API; put it into messages",
    "api_key": "may not travel with a request; name the key in the upstreams file",
    "base_url": "may not travel with a request; configure the upstream",
    "api_base": "may not travel with a request; configure the upstream",
}


def body_of(
    given: object, catalog: Catalog, max_bytes: int, *, plain: bool = False
) -> dict[str, object]:
    """The body as it is sent to an upstream.

    Args:
        given: what the caller sent.
        catalog: the upstreams, one of which must serve the model.
        max_bytes: the largest body, measured as JSON in UTF-8.
        plain: whether it is known to be neither deep nor in need of repair: most of what it takes
            to look at a body is to look for these.

    Raises:
        InvalidRequest: the first fault, by field.
    """
    body = _sized(object_of(given, "request"), max_bytes, plain)
    for name in REFUSED.keys() & body:
        problem, remedy = REFUSED[name].split("; ", 1)
        raise InvalidRequest(f"request.{name}", problem, remedy)
    _check_stream(body)
    _check_messages(body.get("messages"))
    for name, (is_valid, expected) in PARAMETERS.items():
        if name in body and not is_valid(body[name]):
            raise InvalidRequest(f"request.{name}", f"is {shown(body[name])}", f"give {expected}")
    _check_model(body, catalog)
    return {**body, "stream": True}


def _sized(given: dict[str, object], max_bytes: int, plain: bool) -> dict[str, object]:
    if not plain and depth_exceeds(given, MAX_DEPTH):
        raise InvalidRequest("request", f"nests deeper than {MAX_DEPTH}", "flatten it")
    try:
        body = {key: value for key, value in given.items() if value is not None}
        if not plain:
            body = {repair(key): repair_document(value) for key, value in body.items()}
        size = len(msgspec.json.encode(body))
    except (TypeError, ValueError, OverflowError):
        raise InvalidRequest("request", "is no JSON object", "send JSON types only") from None
    if size > max_bytes:
        raise InvalidRequest("request", f"has {size:,} bytes", f"send at most {max_bytes:,}")
    return body


def _check_stream(body: dict[str, object]) -> None:
    if "stream" in body and body["stream"] is not True:
        raise InvalidRequest(
            "request.stream",
            f"is {shown(body['stream'])}",
            "give the boolean true or leave it out: every job is streamed",
        )


def _check_model(body: dict[str, object], catalog: Catalog) -> None:
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_NAME:
        raise InvalidRequest("request.model", f"is {shown(model)}", "name a model")
    serving = catalog.serving(model)
    if not serving:
        raise ModelNotServed(
            "request.model",
            f"is {model!r}, which no configured upstream serves",
            f"use one of {', '.join(catalog.models())}",
        )
    asks = body.get("logprobs") is True or "top_logprobs" in body
    silent = [upstream.name for upstream in serving if not upstream.streams_logprobs]
    if asks and silent:
        raise InvalidRequest(
            "request.logprobs",
            f"is not streamed by upstream {silent[0]!r}",
            "leave it out, or set streams_logprobs = true for an upstream that does",
        )
    if "top_logprobs" in body and body.get("logprobs") is not True:
        raise InvalidRequest("request.top_logprobs", "needs logprobs", "set logprobs to true")


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        problem = "is missing" if messages is None else f"is {shown(messages)}"
        raise InvalidRequest("request.messages", problem, "give a list of at least one message")
    if len(messages) > MOST_MESSAGES:
        problem = f"has {len(messages):,} messages"
        raise InvalidRequest("request.messages", problem, f"send at most {MOST_MESSAGES:,}")
    for place, message in enumerate(messages):
        _check_message(message, f"request.messages[{place}]")


def _check_message(given: object, field: str) -> None:
    message = object_of(given, field)
    role = message.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{field}.role", f"is {shown(role)}", f"use one of {', '.join(ROLES)}")
    content = message.get("content")
    if content is None:
        if role != "assistant":
            raise InvalidRequest(f"{field}.content", "is missing", "give a text or content parts")
    elif isinstance(content, list):
        for place, part in enumerate(content):
            if not isinstance(object_of(part, f"{field}.content[{place}]").get("type"), str):
                raise InvalidRequest(
                    f"{field}.content[{place}].type", "is missing", 'give it, for example "text"'
                )
    elif not isinstance(content, str):
        raise InvalidRequest(f"{field}.content", f"is {shown(content)}", "give text or parts")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise InvalidRequest(f"{field}.tool_call_id", "is missing", "name the call it answers")


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 1


def _is_whole(value: object) -> bool:
    return type(value) is int


def _is_number(value: object) -> bool:
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


def _between(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _is(*types: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, types)


# Known parameters whose type decides whether an upstream can understand them at all; their ranges
# are the upstream's business. What is not named here is passed on as it is: servers have
# parameters of their own.
PARAMETERS: Mapping[str, tuple[Callable[[object], bool], str]] = {
    "n": (_between(1, 128), "a whole number from 1 to 128"),
    "max_tokens": (_is_count, "a whole number from 1 up"),
    "max_completion_tokens": (_is_count, "a whole number from 1 up"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "presence_penalty": (_is_number, "a number"),
    "frequency_penalty": (_is_number, "a number"),
    "seed": (_is_whole, "a whole number"),
    "logprobs": (_is(bool), "a boolean"),
    "top_logprobs": (_between(0, 20), "a whole number from 0 to 20"),
    "stop": (_is(str, list), "a text or a list of texts"),
    "tools": (_is(list), "a list of tools"),
    "tool_choice": (_is(str, dict), "a text or an object"),
    "parallel_tool_calls": (_is(bool), "a boolean"),
    "response_format": (_is(dict), "an object"),
    "stream_options": (_is(dict), "an object"),
    "logit_bias": (_is(dict), "an object"),
    "user": (_is(str), "a text"),
    "metadata": (_is(dict), "an object"),
    "reasoning_effort": (_is(str), "a text"),
}
