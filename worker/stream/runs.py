"""Runs: consecutive output of one part, cut into pieces as often as somebody asks."""

import msgspec

from worker.stream.wire import Extra

# Texts of a run kept apart before they become one; bounds both the memory of many small texts
# and the work of joining them (each character is copied a fixed number of times).
_TEXTS_PER_BLOCK = 256


class Piece(msgspec.Struct, frozen=True, gc=False):
    """What is published as one delta: the characters from offset `at` up to `end` of one part.

    `part` is text, reasoning, refusal or tool_call. `index` says which tool call; `name` and
    `id` stand on the piece that opens it, whose first character is the opening itself.
    """

    at: int
    end: int
    choice: int
    part: str
    text: str
    index: int | None = None
    id: str | None = None
    name: str | None = None
    extra: Extra | None = None


class Part:
    """One part of one choice; compared by identity. `length` counts its characters."""

    __slots__ = ("choice", "index", "length", "name")

    def __init__(self, choice: int, name: str, index: int | None = None) -> None:
        self.choice = choice
        self.name = name
        self.index = index
        self.length = 0

    @property
    def label(self) -> str:
        """The name of the part where a run is saved: `text`, `tool_call:0`."""
        return self.name if self.index is None else f"{self.name}:{self.index}"


class Opening(msgspec.Struct, frozen=True, gc=False):
    """The opening of a tool call, as it is published."""

    id: str | None
    name: str


class Run:
    """Consecutive output of one part. `new` is what nobody has taken yet."""

    __slots__ = ("_blocks", "_kept", "_taken", "at", "end", "extra", "new", "opening", "part")

    def __init__(
        self, part: Part, at: int, opening: Opening | None = None, extra: Extra | None = None
    ) -> None:
        self.part = part
        self.at = at
        self.end = at if opening is None else at + 1
        self.opening = opening
        self.extra = extra
        self.new: list[str] = []
        self._taken = at
        self._kept: list[str] = []
        self._blocks = 0

    @property
    def text(self) -> str:
        """All of it, taken or not."""
        return "".join(self._kept) + "".join(self.new)

    def take(self) -> Piece | None:
        """What has come since the last take, or None."""
        if self._taken == self.end:
            return None
        new = self.new
        text = new[0] if len(new) == 1 else "".join(new)
        piece = self._piece(self._taken, text)
        self._taken = self.end
        new.clear()
        kept = self._kept
        kept.append(text)
        if len(kept) - self._blocks >= _TEXTS_PER_BLOCK:
            kept[self._blocks :] = ["".join(kept[self._blocks :])]
            self._blocks += 1
        return piece

    def replay(self) -> Piece:
        """The whole run; counts as taken."""
        text = self.text
        self.new.clear()
        self._taken = self.end
        self._kept = [text]
        self._blocks = 1
        return self._piece(self.at, text)

    def _piece(self, at: int, text: str) -> Piece:
        part = self.part
        opening = self.opening if at == self.at else None
        if opening is None:
            return Piece(
                at, self.end, part.choice, part.name, text, index=part.index, extra=self.extra
            )
        return Piece(
            at, self.end, part.choice, part.name, text,
            index=part.index, id=opening.id, name=opening.name, extra=self.extra,
        )  # fmt: skip
