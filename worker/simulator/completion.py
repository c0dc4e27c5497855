"""The healthy answer to a request: its ground truth, and the steps that serve it."""

import secrets
import time
from collections.abc import Iterator
from functools import cached_property

from worker.simulator import text
from worker.simulator.chunks import DONE, FINGERPRINT, Chunks, encode, logprob
from worker.simulator.request import ChatRequest, parse_request
from worker.simulator.script import Plan, parse_model
from worker.simulator.steps import Event, Head, Part, Steps, Wait, document

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}

_ARGUMENT_FRAGMENT = 6
"""Characters in one fragment of a tool call's arguments."""


class Completion:
    """One request and its answer.

    Attributes:
        request: the body that was sent.
        plan: what its model name asks for.
        headers: the request's headers, names in lower case.
        chunks: the writer of its events.
        finish_reason: how every choice ends.
    """

    def __init__(
        self, request: ChatRequest, plan: Plan, headers: dict[str, str], variation: str = ""
    ) -> None:
        self.request = request
        self.plan = plan
        self.headers = headers
        self._identity = (
            request.model,
            request.messages_sha256(),
            str(request.seed),
            variation,
        )
        self.id = f"chatcmpl-{secrets.token_hex(14)}"
        self.created = int(time.time())
        self.chunks = Chunks(request, self.id, self.created)
        limit = request.token_limit
        wanted = plan.reasoning + plan.tokens
        allowed = wanted if limit is None else min(limit, wanted)
        self._reasoning = min(plan.reasoning, allowed)
        self._content = allowed - self._reasoning
        self._calls = [] if plan.tools == 0 else request.offered_tools[: plan.tools]
        self.finish_reason = self._finish_reason(cut=allowed < wanted)

    def _finish_reason(self, cut: bool) -> str:
        if self._calls:
            return "tool_calls"
        return "length" if cut else "stop"

    @property
    def choices(self) -> int:
        """How many choices the answer has."""
        return self.request.n or 1

    @property
    def strike_at(self) -> int:
        """How many deltas go out before a fault: `at`, or half of them."""
        return self.delta_count // 2 if self.plan.at is None else self.plan.at

    @cached_property
    def delta_count(self) -> int:
        """How many deltas a healthy stream writes, all choices together."""
        return sum(1 for choice in range(self.choices) for _ in self._deltas(choice))

    @property
    def usage(self) -> dict[str, object]:
        """Token counts, in OpenAI's shape."""
        prompt = self.request.prompt_tokens()
        completion = (self._reasoning + self._content) * self.choices
        return {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": self._reasoning * self.choices},
        }

    def truth(self) -> dict[Part, str]:
        """What a healthy answer says, by choice and channel."""
        parts: dict[Part, list[str]] = {}
        for choice in range(self.choices):
            for event in self._deltas(choice):
                if event.part is not None:
                    parts.setdefault(event.part, []).append(event.text)
        return {part: "".join(pieces) for part, pieces in parts.items()}

    def steps(self) -> Steps:
        """The healthy answer, streamed or whole, whichever was asked for."""
        return self._streamed() if self.request.stream else self.whole()

    def _streamed(self) -> Steps:
        yield Head(200, EVENT_STREAM)
        yield Wait(self.plan.ttft)
        for choice in range(self.choices):
            role = encode({"role": "assistant", "content": "", "refusal": None})
            yield Event(self.chunks.delta(choice, role))
        yield from self._paced()
        for choice in range(self.choices):
            last = self.chunks.delta(choice, b"{}", self.finish_reason)
            yield Event(last, finish=(choice, self.finish_reason))
        if self.request.include_usage:
            yield Event(self.chunks.usage(self.usage))
        yield Event(DONE)

    def _paced(self) -> Steps:
        pause = Wait(1 / self.plan.rate) if self.plan.rate else None
        first = True
        # Choices are equally long, so one round holds one delta of each.
        for round_ in zip(*map(self._deltas, range(self.choices)), strict=True):
            if pause is not None and not first:
                yield pause
            first = False
            yield from round_

    def _deltas(self, choice: int) -> Iterator[Event]:
        yield from self._written(choice, "reasoning", self.plan.reasoning_field, self._reasoning)
        if self._calls:
            for index, name in enumerate(self._calls):
                yield from self._tool_call(choice, index, name)
        else:
            channel = "refusal" if self.plan.refusal else "content"
            yield from self._written(choice, channel, channel, self._content)

    def _written(self, choice: int, channel: str, field: str, count: int) -> Iterator[Event]:
        write = self.chunks.field(choice, field)
        part = (choice, channel)
        for token in text.tokens(self._seed(choice, channel), count):
            yield Event(write(token), part, token.text)

    def _tool_call(self, choice: int, index: int, name: str) -> Iterator[Event]:
        call = {"index": index, "id": self._call_id(choice, index), "type": "function"}
        opening = {**call, "function": {"name": name, "arguments": ""}}
        yield self._tool_event(choice, f"tool_calls.{index}.name", name, opening)
        arguments = self._arguments(choice, index)
        for start in range(0, len(arguments), _ARGUMENT_FRAGMENT):
            piece = arguments[start : start + _ARGUMENT_FRAGMENT]
            delta = {"index": index, "function": {"arguments": piece}}
            yield self._tool_event(choice, f"tool_calls.{index}.arguments", piece, delta)

    def _tool_event(self, choice: int, channel: str, said: str, call: dict[str, object]) -> Event:
        delta = encode({"tool_calls": [call]})
        return Event(self.chunks.delta(choice, delta), (choice, channel), said)

    def _call_id(self, choice: int, index: int) -> str:
        return f"call_{self._seed(choice, f'call {index}'):016x}"

    def _arguments(self, choice: int, index: int) -> str:
        words = text.tokens(self._seed(choice, f"arguments {index}"), 16)
        said = "".join(token.text for token in words)
        return encode({"simulated": True, "query": said}).decode()

    def _seed(self, choice: int, channel: str) -> int:
        return text.seed_of(*self._identity, str(choice), channel)

    def whole(self) -> Steps:
        """The answer as one JSON document, after the time a stream would have taken."""
        spoken = self._reasoning + self._content
        yield Wait(self.plan.ttft + (spoken / self.plan.rate if self.plan.rate else 0))
        truth = self.truth()
        body = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.request.model,
            "choices": [self._choice(choice, truth) for choice in range(self.choices)],
            "usage": self.usage,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        head, answer = document(200, encode(body))
        yield head
        yield from self._spoken(truth)
        yield answer

    def _spoken(self, truth: dict[Part, str]) -> Iterator[Event]:
        """Events without bytes: a whole answer tells the record its truth through them."""
        for part, said in truth.items():
            yield Event(b"", part, said)
        for choice in range(self.choices):
            yield Event(b"", finish=(choice, self.finish_reason))

    def _choice(self, choice: int, truth: dict[Part, str]) -> dict[str, object]:
        message: dict[str, object] = {
            "role": "assistant",
            "content": truth.get((choice, "content"), None if self._calls else ""),
            "refusal": truth.get((choice, "refusal")),
        }
        if self._reasoning:
            message[self.plan.reasoning_field] = truth[choice, "reasoning"]
        if self._calls:
            message["tool_calls"] = self._whole_calls(choice, truth)
        return {
            "index": choice,
            "message": message,
            "logprobs": self._whole_logprobs(choice),
            "finish_reason": self.finish_reason,
        }

    def _whole_calls(self, choice: int, truth: dict[Part, str]) -> list[dict[str, object]]:
        return [
            {
                "id": self._call_id(choice, index),
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": truth[choice, f"tool_calls.{index}.arguments"],
                },
            }
            for index, name in enumerate(self._calls)
        ]

    def _whole_logprobs(self, choice: int) -> dict[str, object] | None:
        if not self.request.logprobs or self._calls:
            return None
        content = text.tokens(self._seed(choice, "content"), self._content)
        top = self.request.top_logprobs or 0
        return {"content": [logprob(token, top) for token in content], "refusal": None}


def ground_truth(body: bytes, variation: str = "") -> dict[Part, str]:
    """What a healthy answer to this request body says, recomputed from the body alone.

    `variation` is the number of the request in its conversation where the model name has `vary=1`.
    """
    request = parse_request(body)
    return Completion(request, parse_model(request.model), {}, variation).truth()
