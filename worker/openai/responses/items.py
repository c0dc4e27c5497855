"""What one attempt has opened, as the output items of a response.

One message, one reasoning item, one function call for each call, in the order in which they
opened. None closes before its attempt ends: text may still follow a call, and whoever reads a log
that was cut anew must find the same items closed under the same numbers.
"""

from collections.abc import Iterator

from worker.channel.events import START, Cursor, Delta, extent
from worker.channel.lost import part_of
from worker.channel.replay import TOOL_CALL
from worker.openai.responses.numbers import CLOSING, OPENING, item_id, number

Event = dict[str, object]

MESSAGE, REASONING, CALL = "message", "reasoning", "function_call"
# Events of a content part begin with this word.
WORDS = {
    "text": "output_text",
    "refusal": "refusal",
    "reasoning": "reasoning_text",
    "call": "function_call_arguments",
}
# Of a job's id, so much tells its calls from other jobs' in a conversation; OpenAI's chat
# completions take no call id of more than 40 characters.
TOLD_APART = 24


class Content:
    """One part of an item: text of one kind, growing."""

    __slots__ = ("_texts", "index", "kind")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        self._texts: list[str] = []

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self._texts)

    def add(self, text: str) -> None:
        """Let it grow."""
        self._texts.append(text)

    def said(self) -> dict[str, object]:
        """The text, by the name it has in its part and in the event that closes it."""
        match self.kind:
            case "refusal":
                return {"refusal": self.text}
            case "call":
                return {"arguments": self.text}
        return {"text": self.text}

    def document(self) -> dict[str, object]:
        """The part as it stands in its item."""
        more: dict[str, object] = {"annotations": [], "logprobs": []}
        return {"type": WORDS[self.kind], **self.said(), **(more if self.kind == "text" else {})}


class Item:
    """One output item. `index` is its output index; a call has the model's `name` and `call`."""

    __slots__ = ("call", "contents", "id", "index", "kind", "name")

    def __init__(self, kind: str, id: str, index: int, name: str = "", call: str = "") -> None:
        self.kind = kind
        self.id = id
        self.index = index
        self.name = name
        self.call = call
        self.contents: list[Content] = []

    def document(self, status: str) -> dict[str, object]:
        """The item as it stands now."""
        document: dict[str, object] = {"id": self.id, "type": self.kind, "status": status}
        if self.kind == CALL:
            said = self.contents[0].said() if self.contents else {"arguments": ""}
            return {**document, "call_id": self.call, "name": self.name, **said}
        content = [content.document() for content in self.contents]
        if self.kind == REASONING:
            return {**document, "summary": [], "content": content}
        return {**document, "role": "assistant", "content": content}

    def place(self, content: Content) -> dict[str, object]:
        """Where an event of the content belongs."""
        where: dict[str, object] = {"item_id": self.id, "output_index": self.index}
        return where if self.kind == CALL else {**where, "content_index": content.index}


class Items:
    """The items of one attempt; `before` is how many items earlier attempts have opened."""

    def __init__(self, job: str, attempt: int, before: int) -> None:
        self.attempt = attempt
        self.before = before
        self._job = job
        self._length = 0
        self._items: dict[str, Item] = {}
        self._parts: dict[str, tuple[Item, Content]] = {}

    def __len__(self) -> int:
        return len(self._items)

    def documents(self, status: str) -> list[dict[str, object]]:
        """The items as an output."""
        return [item.document(status) for item in self._items.values()]

    def take(
        self, delta: Delta, seen: Cursor = START, *, logprobs: bool = False
    ) -> Iterator[Event]:
        """What a delta opens, and what it adds to the characters its reader has.

        Args:
            delta: the next one.
            seen: what the reader has.
            logprobs: whether it wants log probabilities.
        """
        call = delta.tool_call
        names = (call.name or "", call.id or "") if call else ("", "")
        yield from self.open(part_of(delta), delta.at, *names)
        item, content = self._parts[part_of(delta)]
        text = _text(delta)
        content.add(text)
        self._length = delta.at + extent(delta)
        begin = self._length - len(text)
        has = seen.offset if seen.attempt == self.attempt else 0
        fresh = text[max(has - begin, 0) :]
        if fresh:
            more = {}
            if content.kind == "text":
                more["logprobs"] = _logprobs(delta) if logprobs and fresh == text else []
            yield {
                "type": f"response.{WORDS[content.kind]}.delta",
                "sequence_number": number(self.attempt, self._length),
                **item.place(content),
                "delta": fresh,
                **more,
            }

    def skip(self, part: str, length: int) -> Iterator[Event]:
        """Open what a run of the part opened, whose characters are not kept."""
        yield from self.open(part, self._length)
        self._length += length

    def open(self, part: str, at: int, name: str = "", call: str = "") -> Iterator[Event]:
        """Open the part at this offset, and its item, unless they are open."""
        if part in self._parts:
            return
        opening = number(self.attempt, at, OPENING)
        kind = CALL if part.startswith(TOOL_CALL) else REASONING if part == REASONING else MESSAGE
        key = part if kind == CALL else kind
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = self._new(kind, part, name, call)
            yield {
                "type": "response.output_item.added",
                "sequence_number": opening,
                "output_index": item.index,
                "item": item.document("in_progress"),
            }
        content = Content("call" if kind == CALL else part, len(item.contents))
        item.contents.append(content)
        self._parts[part] = item, content
        if kind != CALL:
            yield {
                "type": "response.content_part.added",
                "sequence_number": opening + 1,
                **item.place(content),
                "part": content.document(),
            }

    def close(self, status: str) -> Iterator[Event]:
        """Close all items: whole ones with their contents, those of no use by themselves.

        A content that is closed is parsed by OpenAI's client, which half a JSON text would break.
        """
        k = number(self.attempt, self._length, CLOSING)
        for item in self._items.values():
            closings = list(_contents_closed(item)) if status == "completed" else []
            done = {"output_index": item.index, "item": item.document(status)}
            for closing in (*closings, {"type": "response.output_item.done", **done}):
                yield {**closing, "sequence_number": k}
                k += 1

    def _new(self, kind: str, part: str, name: str, call: str) -> Item:
        place = self.before + len(self._items)
        if kind != CALL:
            prefix = "msg" if kind == MESSAGE else "rs"
            return Item(kind, item_id(prefix, self._job, self.attempt), place)
        index = int(part.removeprefix(TOOL_CALL))
        own = item_id("fc", self._job, self.attempt, index)
        return Item(kind, own, place, name, self._call_id(call, index))

    def _call_id(self, given: str, index: int) -> str:
        """The call's id, unlike that of any other call of the job.

        OpenAI's client takes a second call of the same id, which an attempt that is made again
        easily has, for a change of the first.
        """
        known = {item.call for item in self._items.values()}
        if not given or given in known:
            return f"call_{self._job[-TOLD_APART:]}_{self.attempt}_{index}"
        return given if self.attempt == 1 else f"{given}_{self.attempt}"


def _text(delta: Delta) -> str:
    if delta.tool_call is not None:
        return delta.tool_call.arguments
    return delta.text or delta.reasoning or delta.refusal or ""


def _logprobs(delta: Delta) -> list[object]:
    """The delta's log probabilities, whose form is the same in chat completions."""
    given = (delta.extra or {}).get("logprobs")
    content = given.get("content") if isinstance(given, dict) else None
    return content if isinstance(content, list) else []


def _contents_closed(item: Item) -> Iterator[Event]:
    for content in item.contents:
        where = item.place(content)
        more: dict[str, object] = {"logprobs": []} if content.kind == "text" else {}
        if item.kind == CALL:
            more["name"] = item.name
        yield {
            "type": f"response.{WORDS[content.kind]}.done",
            **where,
            **content.said(),
            **more,
        }
        if item.kind != CALL:
            yield {"type": "response.content_part.done", **where, "part": content.document()}
