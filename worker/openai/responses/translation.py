"""A request for a response as a chat-completions body.

What a chat cannot do is refused by name: whatever is ignored silently costs money, or misleads.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from worker.errors import InvalidRequest, Unsupported
from worker.openai.responses.messages import Message, messages_of
from worker.openai.responses.parameters import REPEATED, SAME, flag, given_of
from worker.request import object_of, shown

LOGPROBS = "message.output_text.logprobs"
CHOICES = ("none", "auto", "required")
TOOL_FIELDS = ("type", "name", "description", "parameters", "strict")


class Wish(Struct, frozen=True, kw_only=True):
    """What a request asks for.

    Attributes:
        body: the chat-completions body, without what came before.
        fields: what the response repeats of it.
        metadata: the job's.
        previous: the id of the response that it continues.
    """

    body: dict[str, object]
    fields: dict[str, object]
    metadata: object
    previous: str | None
    stream: bool
    background: bool


def translated(request: Mapping[str, object]) -> Wish:
    """What the body of `POST /v1/responses` asks for.

    Raises:
        InvalidRequest: a parameter is not what it should be.
        Unknown, Unsupported: one is unknown, or a chat cannot do it.
    """
    given = given_of(request)
    stream, background = flag(given, "stream", False), flag(given, "background", False)
    if background and not flag(given, "store", True):
        raise InvalidRequest("store", "is false beside background", "leave one of them out")
    _check(given, stream)
    body = {name: given[name] for name in SAME if name in given}
    body["messages"] = _instructions(given) + messages_of(given.get("input"))
    body |= _limits(given) | _format(given) | _reasoning(given) | _tools(given)
    body |= _logprobs(given, stream)
    previous = given.get("previous_response_id")
    if previous is not None and not isinstance(previous, str):
        raise InvalidRequest("previous_response_id", f"is {shown(previous)}", "give a text")
    return Wish(
        body=body,
        fields={name: given[name] for name in REPEATED if name in given},
        metadata=given.get("metadata"),
        previous=previous,
        stream=stream,
        background=background,
    )


def continued(
    body: Mapping[str, object], fields: Mapping[str, object], earlier: Sequence[Message]
) -> dict[str, object]:
    """The body with what was said before its own messages, but after its instructions."""
    own, rest = _split(body, fields)
    return {**body, "messages": [*own, *earlier, *rest]}


def conversation(body: Mapping[str, object], fields: Mapping[str, object]) -> list[Message]:
    """The messages of an earlier body, whose instructions were its alone."""
    return _split(body, fields)[1]


def _split(
    body: Mapping[str, object], fields: Mapping[str, object]
) -> tuple[list[Message], list[Message]]:
    """The instructions' message, if there is one, and the others."""
    messages = body["messages"]
    assert isinstance(messages, list)
    own = 1 if fields.get("instructions") is not None else 0
    return messages[:own], messages[own:]


def _check(given: Mapping[str, object], stream: bool) -> None:
    if given.get("truncation", "disabled") != "disabled":
        raise Unsupported("truncation", f"is {shown(given['truncation'])}", "use disabled")
    options = object_of(given.get("stream_options", {}), "stream_options")
    if options and not stream:
        raise InvalidRequest("stream_options", "needs a stream", "leave it out")
    for name, value in options.items():
        if name != "include_obfuscation" or value is not False:
            raise Unsupported(f"stream_options.{name[:40]}", f"is {shown(value)}", "leave it out")


def _instructions(given: Mapping[str, object]) -> list[Message]:
    text = given.get("instructions")
    if text is None:
        return []
    if not isinstance(text, str):
        raise InvalidRequest("instructions", f"is {shown(text)}", "give a text")
    # Every server knows this role; `developer` is OpenAI's alone.
    return [{"role": "system", "content": text}]


def _limits(given: Mapping[str, object]) -> dict[str, object]:
    most = given.get("max_output_tokens")
    if most is None:
        return {}
    if type(most) is not int or most < 1:
        raise InvalidRequest("max_output_tokens", f"is {shown(most)}", "give a number from 1 up")
    return {"max_completion_tokens": most}


def _format(given: Mapping[str, object]) -> dict[str, object]:
    text = object_of(given.get("text", {}), "text")
    for name in text.keys() - {"format", "verbosity"}:
        raise Unsupported(f"text.{name[:40]}", "is unknown", "leave it out")
    verbosity = text.get("verbosity")
    body: dict[str, object] = {} if verbosity is None else {"verbosity": verbosity}
    form = object_of(text.get("format") or {"type": "text"}, "text.format")
    match form.get("type"):
        case "text":
            return body
        case "json_object":
            return {**body, "response_format": {"type": "json_object"}}
        case "json_schema":
            schema = {k: v for k, v in form.items() if k != "type" and v is not None}
            return {**body, "response_format": {"type": "json_schema", "json_schema": schema}}
    raise Unsupported(
        "text.format.type", f"is {shown(form.get('type'))}", "use text, json_object or json_schema"
    )


def _reasoning(given: Mapping[str, object]) -> dict[str, object]:
    reasoning = object_of(given.get("reasoning", {}), "reasoning")
    for name, value in reasoning.items():
        if name != "effort" and value is not None:
            raise Unsupported(f"reasoning.{name[:40]}", f"is {shown(value)}", "leave it out")
    effort = reasoning.get("effort")
    if effort is None:
        return {}
    if not isinstance(effort, str):
        raise InvalidRequest("reasoning.effort", f"is {shown(effort)}", "give a text")
    return {"reasoning_effort": effort}


def _tools(given: Mapping[str, object]) -> dict[str, object]:
    tools = given.get("tools", [])
    if not isinstance(tools, list):
        raise InvalidRequest("tools", f"is {shown(tools)}", "give a list of tools")
    found = [_tool(object_of(t, f"tools[{at}]"), f"tools[{at}]") for at, t in enumerate(tools)]
    choice = given.get("tool_choice")
    body: dict[str, object] = {"tools": found} if found else {}
    if choice is None or (choice in ("auto", "none") and not found):
        return body  # of a choice among no tools, servers complain
    if choice not in CHOICES:
        named = object_of(choice, "tool_choice")
        if named.get("type") != "function":
            kind = shown(named.get("type"))
            raise Unsupported("tool_choice.type", f"is {kind}", "name a function")
        choice = {"type": "function", "function": {"name": named.get("name")}}
    return {**body, "tool_choice": choice}


def _tool(tool: Mapping[str, object], field: str) -> dict[str, object]:
    if tool.get("type") != "function":
        raise Unsupported(f"{field}.type", f"is {shown(tool.get('type'))}", "use type function")
    if not isinstance(tool.get("name"), str):
        raise InvalidRequest(f"{field}.name", f"is {shown(tool.get('name'))}", "give a text")
    given = {name: value for name, value in tool.items() if value is not None}
    for name in given:
        if name not in TOOL_FIELDS:
            raise Unsupported(f"{field}.{name[:40]}", "is not for a chat", "leave it out")
    return {"type": "function", "function": {k: v for k, v in given.items() if k != "type"}}


def _logprobs(given: Mapping[str, object], stream: bool) -> dict[str, object]:
    include = given.get("include", [])
    if not isinstance(include, list):
        raise InvalidRequest("include", f"is {shown(include)}", "give a list of texts")
    for wanted in include:
        if wanted != LOGPROBS:
            raise Unsupported("include", f"names {shown(wanted)}", f"name {LOGPROBS} or nothing")
    top = given.get("top_logprobs", 0)
    if type(top) is not int or not 0 <= top <= 20:
        raise InvalidRequest("top_logprobs", f"is {shown(top)}", "give a number from 0 to 20")
    if not include and not top:
        return {}
    if not stream:
        # They travel with the text and are not kept.
        raise Unsupported("include", "needs a stream", "set stream to true")
    return {"logprobs": True, "top_logprobs": top} if top else {"logprobs": True}
