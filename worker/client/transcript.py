"""What a reader holds: at the end it equals what is saved, choice by choice and part by part."""

from worker.client.events import START, Delta, End, Event, Retrying, Started, ToolCall, place_of


class _Text:
    """A text that grows by pieces; it is joined when it is looked at."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        self._pieces: list[str] = []

    def add(self, piece: str) -> None:
        self._pieces.append(piece)

    def whole(self) -> str:
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""


class Choice:
    """One choice of the output, so far."""

    __slots__ = ("_calls", "_parts")

    def __init__(self) -> None:
        self._parts = {"text": _Text(), "reasoning": _Text(), "refusal": _Text()}
        self._calls: dict[int, tuple[ToolCall, _Text]] = {}

    @property
    def text(self) -> str:
        """The answer itself."""
        return self._parts["text"].whole()

    @property
    def reasoning(self) -> str:
        """What the model thought before it, where the upstream shows that."""
        return self._parts["reasoning"].whole()

    @property
    def refusal(self) -> str:
        """What the model said in place of an answer."""
        return self._parts["refusal"].whole()

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls, by index, each with its arguments so far."""
        return tuple(
            ToolCall(index=index, id=opening.id, name=opening.name, arguments=arguments.whole())
            for index, (opening, arguments) in sorted(self._calls.items())
        )

    def _add(self, delta: Delta) -> None:
        if delta.tool_call is not None:
            call = delta.tool_call
            self._calls.setdefault(call.index, (call, _Text()))[1].add(call.arguments)
        for part, text in self._parts.items():
            if piece := getattr(delta, part):
                text.add(piece)


class Transcript:
    """Keeps the output of a job from its events.

        transcript = Transcript()
        for event in client.follow(job["id"]):
            transcript.apply(event)
        print(transcript.text)

    It has to be given all of them, from the first: `follow` without `after`. What comes twice is
    taken once, so one transcript can be fed by several calls of `follow`, each going on where the
    last one broke off.

    Attributes:
        choices: by index, those that have said something.
        end: the closing event, as soon as it has come.
    """

    def __init__(self) -> None:
        self.choices: dict[int, Choice] = {}
        self.end: End | None = None
        self._place = START
        self._offset = 0  # characters held, which is where the next delta has to begin

    @property
    def text(self) -> str:
        """The text of choice 0: the job's `output_text`."""
        return self.choices[0].text if 0 in self.choices else ""

    @property
    def cursor(self) -> str:
        """The id of the last event; `follow` goes on after it."""
        return str(self._place)

    def apply(self, event: Event) -> None:
        """Take one event.

        Raises:
            ValueError: an event before this one is missing.
        """
        place = place_of(event.id)
        if place <= self._place:
            return
        if place.attempt > self._place.attempt or isinstance(event, Started | Retrying):
            self._drop()
        if isinstance(event, Delta):
            self._append(event)
            self._offset = place.offset
        elif isinstance(event, End):
            self.end = event
        self._place = place

    def _append(self, delta: Delta) -> None:
        if delta.at == 0:
            self._drop()
        if delta.at != self._offset:
            raise ValueError(f"event {delta.id} begins at {delta.at}, and {self._offset} are held")
        if delta.choice not in self.choices:
            self.choices[delta.choice] = Choice()
        self.choices[delta.choice]._add(delta)

    def _drop(self) -> None:
        self.choices = {}
        self._offset = 0
