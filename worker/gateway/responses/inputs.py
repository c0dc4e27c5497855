"""What a response was asked, as items again: its stored request holds the whole conversation."""

from collections.abc import Iterator, Mapping

from models import Job
from worker.errors import InvalidRequest
from worker.gateway.listing import limit_of, order_of, page_of
from worker.openai.responses.numbers import item_id
from worker.openai.responses.translation import conversation


def page_of_inputs(job: Job, query: Mapping[str, str]) -> dict[str, object]:
    """A page of the input's items, the last one first where nothing else is said.

    Raises:
        InvalidRequest: names the parameter at fault.
    """
    items = list(_items(job))
    if order_of(query.get("order")) == "desc":
        items.reverse()
    limit = limit_of(query.get("limit"))
    ids = [item["id"] for item in items]
    after = query.get("after")
    if after is not None and after not in ids:
        raise InvalidRequest("after", f"is {after[:80]!r}", "give the id of an item of this input")
    begin = 0 if after is None else ids.index(after) + 1
    page = items[begin : begin + limit]
    return page_of(page, has_more=begin + len(page) < len(items))


def _items(job: Job) -> Iterator[dict[str, object]]:
    place = 0
    for message in conversation(job.request, job.response_fields or {}):
        for item in _items_of(message):
            kind = {"function_call": "fc", "function_call_output": "fco"}.get(str(item["type"]))
            yield {**item, "id": item_id(kind or "msg", job.id, 0, place), "status": "completed"}
            place += 1


def _items_of(message: Mapping[str, object]) -> Iterator[dict[str, object]]:
    role, content = message["role"], message.get("content")
    if role == "tool":
        call_id = message["tool_call_id"]
        said = content if isinstance(content, str) else _parts(role, content)
        yield {"type": "function_call_output", "call_id": call_id, "output": said}
        return
    parts = _parts(role, content)
    if refusal := message.get("refusal"):
        parts.append({"type": "refusal", "refusal": refusal})
    if parts:
        yield {"type": "message", "role": role, "content": parts}
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        yield {"type": "function_call", "call_id": call["id"], **call["function"]}


def _parts(role: object, content: object) -> list[dict[str, object]]:
    said = "output_text" if role == "assistant" else "input_text"
    if isinstance(content, str):
        more: dict[str, object] = {"annotations": []} if role == "assistant" else {}
        return [{"type": said, "text": content, **more}] if content else []
    return [_part(part) for part in content] if isinstance(content, list) else []


def _part(part: Mapping[str, object]) -> dict[str, object]:
    """A content part of a chat message, as an item has it."""
    kind = part["type"]
    if kind == "text":
        return {"type": "input_text", "text": part["text"]}
    inner = part[str(kind)]
    assert isinstance(inner, dict)
    if kind == "image_url":
        return {"type": "input_image", "detail": "auto", **_renamed(inner)}
    return {"type": "input_audio", kind: inner} if kind == "input_audio" else {
        "type": "input_file", **inner
    }  # fmt: skip


def _renamed(image: Mapping[str, object]) -> dict[str, object]:
    return {"image_url" if name == "url" else name: value for name, value in image.items()}
