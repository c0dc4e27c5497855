"""What one attempt has produced so far: the one source for publishing, rebuilding and saving.

Characters are counted in the order published, over all parts of all choices; the opening of a
tool call counts one. NUL and lone surrogates are replaced before they are counted, so that what
was published is what will be saved.
"""

from enum import StrEnum

from worker.stream.choices import ChoiceOutput
from worker.stream.extras import BESIDE, all_merged, cleaned, encoded, merged
from worker.stream.runs import Opening, Part, Piece, Run
from worker.stream.toolcalls import ToolCall
from worker.stream.wire import Choice, Chunk, Delta, Extra, Usage
from worker.text import REPLACEMENT, repair

# In the place of a finish reason these say that there is none yet (DashScope's own protocol
# writes "null" until the end).
_NO_REASON = frozenset({"null", "None"})


class Verdict(StrEnum):
    """Whether what came is the whole answer."""

    COMPLETE = "complete"
    UNVERIFIED = "complete_unverified"
    TRUNCATED = "truncated"


class Transcript:
    """Applies chunks; hands out pieces, the output and the verdict.

    Attributes:
        length: the offset, in characters (Unicode code points) produced so far.
        model: the model as the upstream names it; None until it does.
        finished: how many choices have their finish reason.
    """

    __slots__ = (
        "_choices", "_extras", "_halves", "_runs", "_tail", "_taken", "_usage",
        "finished", "length", "model",
    )  # fmt: skip

    def __init__(self) -> None:
        self.length = 0
        self.model: str | None = None
        self._usage: Usage | None = None
        self._choices: dict[int, ChoiceOutput] = {}
        self.finished = 0
        self._runs: list[Run] = []
        self._tail: Part | None = None  # the part whose run, the last one, may still grow
        self._taken = 0  # the runs before this index have been taken whole
        self._halves: dict[Part, str] = {}  # high surrogates whose partner has not come
        self._extras: dict[int, Extra] = {}  # by choice: what waits for a character to join

    def apply(self, chunk: Chunk) -> None:
        """Add what the chunk says."""
        # Every delta of every stream passes here: the common delta tests few things, once.
        if self.model is None and chunk.model:
            self.model = repair(chunk.model)
        if chunk.usage or chunk.x_groq is not None:
            self._apply_usage(chunk)
        for choice in chunk.choices:
            if choice.extra or choice.logprobs:
                self._keep_extras(choice)
            delta = choice.delta
            if delta is not None:
                output = self._choices.get(choice.index) or self._see(choice.index)
                reasoning = delta.reasoning_content or delta.reasoning
                if reasoning:
                    self._append(output.reasoning, reasoning)
                if delta.content:
                    self._append(output.text, delta.content)
                if delta.refusal or delta.tool_calls:
                    self._apply_rare(output, delta)
            if choice.finish_reason:
                self._finish(choice)

    def close(self) -> None:
        """Let out what was held back: calls that got no name, halves that got no partner."""
        for output in self._choices.values():
            for call in output.calls.all:
                if call.name is None:
                    call.name = ""
                    self._open(call)
        for part in list(self._halves):
            del self._halves[part]
            self._add(part, REPLACEMENT)

    def take(self) -> list[Piece]:
        """What has come since the last take or replay: one piece a run, each joining the last."""
        last = len(self._runs) - 1
        if self._taken == last:  # almost always: one run grows
            piece = self._runs[last].take()
            return [] if piece is None else [piece]
        pieces = [run.take() for run in self._runs[self._taken :]]
        self._taken = max(last, 0)
        return [piece for piece in pieces if piece is not None]

    def replay(self) -> list[Piece]:
        """Everything from offset 0, one piece a run; the next take goes on from here."""
        self._taken = max(len(self._runs) - 1, 0)
        return [run.replay() for run in self._runs]

    def parts(self) -> list[tuple[int, str, int]]:
        """The runs as (choice, part, length); a tool call's part is `tool_call:<index>`.

        Laid end to end they give back the cut of the output by offset.
        """
        runs: list[tuple[int, str, int]] = []
        for run in self._runs:
            choice, label, length = run.part.choice, run.part.label, run.end - run.at
            if runs and runs[-1][:2] == (choice, label):
                length += runs.pop()[2]
            runs.append((choice, label, length))
        return runs

    def output(self, *, extras: bool = False) -> list[dict[str, object]]:
        """One message a choice, in the shape of a chat completion's, with `index` and
        `finish_reason` in it; `reasoning`, `refusal` and `tool_calls` only where there are any.

        Args:
            extras: whether each has what came beside it, too (see `extras.BESIDE`).
        """
        texts = self._texts()
        messages = {index: each.message(texts) for index, each in sorted(self._choices.items())}
        for choice, extra in self._all_extras().items() if extras else ():
            if choice in messages:
                messages[choice][BESIDE] = encoded(extra)
        return list(messages.values())

    @property
    def output_text(self) -> str:
        """The text of choice 0."""
        output = self._choices.get(0)
        return "" if output is None else self._texts().get(output.text, "")

    @property
    def usage(self) -> Usage | None:
        """The last usage the upstream sent."""
        return None if self._usage is None else cleaned(self._usage)

    @property
    def trailing_extra(self) -> dict[int, Extra]:
        """By choice, the extras that no character has come for; they belong to the end."""
        return self._extras

    @property
    def finish_reason(self) -> str | None:
        """Choice 0's, or that of the lowest choice seen; unknown words as they came."""
        if not self._choices:
            return None
        return self._choices[min(self._choices)].finish_reason

    @property
    def empty(self) -> bool:
        """No text and no tool call in any choice."""
        return all(output.empty for output in self._choices.values())

    @property
    def proven(self) -> bool:
        """At least one choice was seen, and every choice seen has its finish reason."""
        return 0 < self.finished == len(self._choices)

    def verdict(self, done: bool) -> Verdict:
        """Whether this is the whole answer, at the end of the body or after it (`done`: `[DONE]`).

        Without a finish reason for every choice only `[DONE]` speaks for completeness, and only
        where each unfinished choice has said something.
        """
        if self.proven:
            return Verdict.COMPLETE
        unfinished = [item for item in self._choices.values() if not item.finish_reason]
        if done and unfinished and not any(output.empty for output in unfinished):
            return Verdict.UNVERIFIED
        return Verdict.TRUNCATED

    def _see(self, index: int) -> ChoiceOutput:
        output = self._choices[index] = ChoiceOutput(index)
        return output

    def _finish(self, choice: Choice) -> None:
        reason = repair(choice.finish_reason or "")
        if reason not in _NO_REASON:
            output = self._choices.get(choice.index) or self._see(choice.index)
            self.finished += output.finish_reason is None
            output.finish_reason = reason

    def _apply_usage(self, chunk: Chunk) -> None:
        self._usage = chunk.usage or (chunk.x_groq and chunk.x_groq.usage) or self._usage

    def _apply_rare(self, output: ChoiceOutput, delta: Delta) -> None:
        if delta.refusal:
            self._append(output.refusal, delta.refusal)
        items = delta.tool_calls or []
        for position, item in enumerate(items):
            call = output.calls.find(item, position, alone=len(items) == 1)
            name, arguments = None, None
            if item.function is not None:
                name, arguments = item.function.name, item.function.arguments
            self._extend_call(call, call.name_it(item.id, name), arguments or "")

    def _extend_call(self, call: ToolCall, named_now: bool, arguments: str) -> None:
        if named_now or call.name is None:
            call.waiting.append(arguments)
            if named_now:
                self._open(call)
        elif arguments:
            self._append(call.part, arguments)

    def _open(self, call: ToolCall) -> None:
        self._begin(call.part, Opening(call.id, call.name or ""))
        self.length += 1
        arguments = "".join(call.waiting)
        call.waiting.clear()
        if arguments:
            self._append(call.part, arguments)

    def _keep_extras(self, choice: Choice) -> None:
        extra = choice.extra
        if choice.logprobs:
            extra = cleaned({"logprobs": choice.logprobs})
        if not extra:
            return
        waiting = self._extras.get(choice.index)
        self._extras[choice.index] = extra if waiting is None else merged(waiting, extra)

    def _append(self, part: Part, text: str) -> None:
        # Plain ASCII needs no look at its code points, as long as no half waits for its partner.
        if self._halves or not text.isascii() or "\0" in text:
            text = self._repaired(part, text)
        if text:
            self._add(part, text)

    def _repaired(self, part: Part, text: str) -> str:
        text = self._halves.pop(part, "") + text
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[part] = text[-1]
            text = text[:-1]
        return repair(text)

    def _add(self, part: Part, text: str) -> None:
        if self._tail is not part or self._extras:
            self._begin(part)
        run = self._runs[-1]
        length = len(text)
        run.new.append(text)
        run.end += length
        part.length += length
        self.length += length

    def _begin(self, part: Part, opening: Opening | None = None) -> None:
        """Begin a run, unless the last one may go on. A run with an extra stays alone."""
        extra = self._extras.pop(part.choice, None)
        if self._tail is part and extra is None and opening is None:
            return
        self._runs.append(Run(part, self.length, opening, extra))
        self._tail = part if extra is None else None

    def _all_extras(self) -> dict[int, Extra]:
        """By choice, what came beside its characters, and what waits for one."""
        found: dict[int, list[Extra]] = {}
        for run in self._runs:
            if run.extra is not None:
                found.setdefault(run.part.choice, []).append(run.extra)
        for choice, extra in self._extras.items():
            found.setdefault(choice, []).append(extra)
        return {choice: all_merged(extras) for choice, extras in found.items()}

    def _texts(self) -> dict[Part, str]:
        texts: dict[Part, list[str]] = {}
        for run in self._runs:
            texts.setdefault(run.part, []).append(run.text)
        return {part: "".join(runs) for part, runs in texts.items()}
