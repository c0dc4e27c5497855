"""The input's items as chat messages, and what an earlier response said as items again."""

from collections.abc import Callable, Mapping

from worker.errors import InvalidRequest, Unsupported
from worker.request import object_of, shown

Message = dict[str, object]

ROLES = ("user", "assistant", "system", "developer")


def messages_of(given: object) -> list[Message]:
    """The messages that an `input` comes to.

    Raises:
        InvalidRequest: it is no input.
        Unsupported: an item, or a part of one, that chat completions have no form for.
    """
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given:
        problem = "is missing" if given is None else f"is {shown(given)}"
        raise InvalidRequest("input", problem, "give a text or a list of items")
    messages: list[Message] = []
    for place, item in enumerate(given):
        add_item(messages, object_of(item, f"input[{place}]"), f"input[{place}]")
    return messages


def add_item(messages: list[Message], item: Mapping[str, object], field: str) -> None:
    """Continue the messages by an item. Raises as `messages_of`."""
    kind = item.get("type", "message")
    adding = _ADDING.get(kind) if isinstance(kind, str) else None
    if adding is None:
        raise Unsupported(
            f"{field}.type", f"is {shown(kind)}", f"send items of type {', '.join(_ADDING)}"
        )
    adding(messages, item, field)


def _add_message(messages: list[Message], item: Mapping[str, object], field: str) -> None:
    role = item.get("role")
    if role not in ROLES:
        raise InvalidRequest(f"{field}.role", f"is {shown(role)}", f"use one of {', '.join(ROLES)}")
    content = item.get("content")
    if isinstance(content, str):
        messages.append({"role": role, "content": content})
        return
    if not isinstance(content, list) or not content:
        raise InvalidRequest(f"{field}.content", f"is {shown(content)}", "give text or parts")
    parts = [object_of(part, f"{field}.content[{place}]") for place, part in enumerate(content)]
    if role == "assistant":
        messages.append(_said(parts, f"{field}.content"))
    else:
        messages.append({"role": role, "content": _parts(parts, f"{field}.content")})


def _said(parts: list[dict[str, object]], field: str) -> Message:
    """What an assistant said: its texts as one."""
    texts: dict[str, list[str]] = {"content": [], "refusal": []}
    for place, part in enumerate(parts):
        refuses = part.get("type") == "refusal"
        if part.get("type") not in ("output_text", "input_text", "refusal"):
            raise Unsupported(
                f"{field}[{place}].type",
                f"is {shown(part.get('type'))}",
                "use output_text or refusal",
            )
        text = _text(part, "refusal" if refuses else "text", f"{field}[{place}]")
        texts["refusal" if refuses else "content"].append(text)
    message: Message = {"role": "assistant", "content": "".join(texts["content"]) or None}
    return {**message, "refusal": "".join(texts["refusal"])} if texts["refusal"] else message


def _add_call(messages: list[Message], item: Mapping[str, object], field: str) -> None:
    call = {
        "id": _text(item, "call_id", field),
        "type": "function",
        "function": {
            "name": _text(item, "name", field),
            "arguments": _text(item, "arguments", field),
        },
    }
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant":
        calls = last.setdefault("tool_calls", [])
        assert isinstance(calls, list)
        calls.append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _add_call_output(messages: list[Message], item: Mapping[str, object], field: str) -> None:
    said = item.get("output")
    if isinstance(said, list):
        parts = [object_of(part, f"{field}.output[{at}]") for at, part in enumerate(said)]
        said = _parts(parts, f"{field}.output")
    elif not isinstance(said, str):
        raise InvalidRequest(f"{field}.output", f"is {shown(said)}", "give text or parts")
    call_id = _text(item, "call_id", field)
    messages.append({"role": "tool", "tool_call_id": call_id, "content": said})


def _add_reasoning(_messages: list[Message], item: Mapping[str, object], field: str) -> None:
    """Of earlier reasoning chat completions know nothing, nor does the model need it."""
    if item.get("encrypted_content") is not None:
        raise Unsupported(
            f"{field}.encrypted_content", "can be read by nobody here", "leave it out"
        )


_ADDING: Mapping[str, Callable[[list[Message], Mapping[str, object], str], None]] = {
    "message": _add_message,
    "function_call": _add_call,
    "function_call_output": _add_call_output,
    "reasoning": _add_reasoning,
}


def _parts(parts: list[dict[str, object]], field: str) -> list[dict[str, object]]:
    return [_part(part, f"{field}[{place}]") for place, part in enumerate(parts)]


def _part(part: Mapping[str, object], field: str) -> dict[str, object]:
    """A content part of a chat message."""
    match part.get("type"):
        case "input_text":
            return {"type": "text", "text": _text(part, "text", field)}
        case "input_image":
            _refuse_file_id(part, field)
            image = {"url": _text(part, "image_url", field)}
            if isinstance(part.get("detail"), str):
                image["detail"] = str(part["detail"])
            return {"type": "image_url", "image_url": image}
        case "input_file":
            _refuse_file_id(part, field)
            if part.get("file_url") is not None:
                raise Unsupported(f"{field}.file_url", "is not fetched", "send file_data")
            file = {"file_data": _text(part, "file_data", field)}
            if isinstance(part.get("filename"), str):
                file["filename"] = str(part["filename"])
            return {"type": "file", "file": file}
        case "input_audio":
            audio = object_of(part.get("input_audio"), f"{field}.input_audio")
            return {"type": "input_audio", "input_audio": audio}
    raise Unsupported(
        f"{field}.type",
        f"is {shown(part.get('type'))}",
        "use input_text, input_image, input_file or input_audio",
    )


def _refuse_file_id(part: Mapping[str, object], field: str) -> None:
    if part.get("file_id") is not None:
        raise Unsupported(f"{field}.file_id", "is of a file no upstream has", "send its content")


def _text(item: Mapping[str, object], name: str, field: str) -> str:
    found = item.get(name)
    if not isinstance(found, str):
        problem = "is missing" if found is None else f"is {shown(found)}"
        raise InvalidRequest(f"{field}.{name}", problem, "give a text")
    return found
