"""Which tool call a piece belongs to, however little the upstream says about it.

The index decides where there is one. Gemini's compatible endpoint sends it as null, mistral.rs
leaves it out; then the same id is the same call, a lone piece without an id continues the only
call, and otherwise the position in the array stands in, as long as neither id nor name
contradicts: two calls that arrive one after the other, each at position 0, stay two.
"""

from worker.stream.runs import Part
from worker.stream.wire import ToolCallDelta
from worker.text import repair


class ToolCall:
    """One call. Id and name are set once; `waiting` holds arguments that came before the name."""

    __slots__ = ("id", "index", "name", "part", "waiting")

    def __init__(self, choice: int, index: int) -> None:
        self.index = index
        self.part = Part(choice, "tool_call", index)
        self.id: str | None = None
        self.name: str | None = None
        self.waiting: list[str] = []

    def name_it(self, call_id: str | None, name: str | None) -> bool:
        """Take over what is not known yet; True where the name has just become known."""
        if call_id and not self.id:
            self.id = repair(call_id)
        if not name or self.name is not None:
            return False
        self.name = repair(name)
        return True

    def contradicts(self, call_id: str | None, name: str | None) -> bool:
        """Whether the call is known under another id or another name."""
        other_id = bool(call_id and self.id) and call_id != self.id
        return other_id or (bool(name and self.name) and name != self.name)


class ToolCalls:
    """The tool calls of one choice, in the order they appeared."""

    __slots__ = ("_by_index", "_choice", "all")

    def __init__(self, choice: int) -> None:
        self._choice = choice
        self._by_index: dict[int, ToolCall] = {}
        self.all: list[ToolCall] = []

    def find(self, delta: ToolCallDelta, position: int, alone: bool) -> ToolCall:
        """The call `delta` belongs to, made where there is none yet.

        `position` is its place in its array, `alone` whether nothing else is in there.
        """
        if delta.index is not None:
            return self._at(delta.index)
        call_id = repair(delta.id) if delta.id else None
        name = repair(delta.function.name) if delta.function and delta.function.name else None
        call = self._likeliest(call_id, position, alone)
        if call.contradicts(call_id, name):
            return self._at(max(self._by_index) + 1)
        return call

    def _likeliest(self, call_id: str | None, position: int, alone: bool) -> ToolCall:
        if call_id:
            for call in self.all:
                if call.id == call_id:
                    return call
        elif alone and len(self.all) == 1:
            return self.all[0]
        return self._at(position)

    def _at(self, index: int) -> ToolCall:
        call = self._by_index.get(index)
        if call is None:
            call = self._by_index[index] = ToolCall(self._choice, index)
            self.all.append(call)
        return call
