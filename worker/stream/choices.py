"""One choice of the answer: its parts, its tool calls, and how it ended."""

from worker.stream.runs import Part
from worker.stream.toolcalls import ToolCall, ToolCalls


class ChoiceOutput:
    """What one choice consists of; the characters themselves are in the transcript's runs."""

    __slots__ = ("calls", "finish_reason", "index", "reasoning", "refusal", "text")

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = Part(index, "text")
        self.reasoning = Part(index, "reasoning")
        self.refusal = Part(index, "refusal")
        self.calls = ToolCalls(index)
        self.finish_reason: str | None = None

    @property
    def empty(self) -> bool:
        """Neither text nor a tool call: reasoning alone is no answer."""
        return not self.text.length and not self.calls.all

    def message(self, texts: dict[Part, str]) -> dict[str, object]:
        """The choice as a chat completion's message, with `index` and `finish_reason` in it.

        `content` is null where something else was said in its place, as OpenAI writes it.
        """
        content = texts.get(self.text, "")
        # By index, whatever the order of arrival: so the saved runs, which name it, find theirs.
        in_order = sorted(self.calls.all, key=lambda call: call.index)
        calls = [_call(call, texts) for call in in_order]
        instead = bool(calls) or self.refusal in texts
        message: dict[str, object] = {"index": self.index, "role": "assistant"}
        message["content"] = None if instead and not content else content
        if self.reasoning in texts:
            message["reasoning"] = texts[self.reasoning]
        if self.refusal in texts:
            message["refusal"] = texts[self.refusal]
        if calls:
            message["tool_calls"] = calls
        message["finish_reason"] = self.finish_reason
        return message


def _call(call: ToolCall, texts: dict[Part, str]) -> dict[str, object]:
    function = {"name": call.name or "", "arguments": texts.get(call.part, "")}
    return {"id": call.id, "type": "function", "function": function}
