"""One attempt's side of its job's channel: what it has to say, composed into writes."""

import time
from collections.abc import Callable, Iterable, Iterator
from enum import Enum

from msgspec import Struct, structs

from worker.channel.events import Delta, End, Retrying, Started, ToolCall, encode
from worker.channel.log import APPLIED, Entry, Mode, Result, Write
from worker.stream.runs import Piece
from worker.stream.transcript import Transcript

# A log past this size is rewritten in few large pieces; the next time at twice the size.
REWRITE_BYTES = 4_000_000
# A rebuilt log's pieces, in characters: 64 KB where the text is ASCII.
PIECE_CHARACTERS = 65_536
# What Redis keeps for an entry besides its JSON, about.
ENTRY_BYTES = 48


class Channel(Struct, frozen=True, kw_only=True):
    """Whose channel it is. Lives are those of the log, in seconds: while it runs, and after."""

    job: str
    attempt: int
    bulk: bool
    open_life_s: float
    closed_life_s: float


class Place(Enum):
    """What the feed knows of its log."""

    NEW = "new"  # nothing written yet
    FOLLOWS = "follows"  # the log's last entry is ours
    LOST = "lost"  # the log lacks what we wrote; the database is to confirm that we still hold
    REBUILD = "rebuild"  # confirmed: everything is to be written anew
    SHUT = "shut"  # fenced, or ended and written


# To look a member up in its enumeration costs a tenth of a microsecond, and for each delta there
# would be ten of them.
NEW, FOLLOWS, LOST, REBUILD, SHUT = Place
APPEND, FIRST, ANEW = Mode.APPEND, Mode.FIRST, Mode.REBUILD


class Feed:
    """Collects an attempt's events and composes them into writes.

    The holder's methods are synchronous: they record, and tell the publisher by `touched`.
    `fenced` is called when somebody else's higher attempt turns out to exist.
    """

    __slots__ = (
        "_closing",
        "_fenced",
        "_log_bytes",
        "_log_limit",
        "_sent",
        "_started",
        "_touched",
        "channel",
        "closed_at",
        "dirty",
        "place",
        "transcript",
    )

    def __init__(
        self,
        channel: Channel,
        transcript: Transcript,
        touched: "Callable[[Feed], None]",
        fenced: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.transcript = transcript
        self.place = NEW
        # Whether the publisher has it on its list.
        self.dirty = False
        self.closed_at: float | None = None
        self._touched = touched
        self._fenced = fenced
        self._started: Started | None = None
        self._closing: Retrying | End | None = None
        self._sent = ""
        self._log_bytes = 0
        self._log_limit = REWRITE_BYTES

    def id(self, offset: int) -> str:
        """The event id of an offset in this attempt."""
        return f"{self.channel.attempt}-{offset}"

    def start(self, upstream: str, model: str) -> None:
        """Announce the attempt: readers drop all earlier text."""
        self._started = Started(id=self.id(0), job=self.channel.job, upstream=upstream, model=model)
        self._touched(self)

    def grew(self) -> None:
        """Say that the transcript has grown. Called for each network read: the hot path."""
        if not self.dirty:
            self._touched(self)

    def close(self, closing: Retrying | End) -> None:
        """Announce the attempt's last event, whose row is committed."""
        self._closing = closing
        self.closed_at = time.monotonic()
        if self.ended and self.place is SHUT:
            # The attempt did not stand any more because its end was just being committed.
            self.place = REBUILD
        self._touched(self)

    @property
    def ended(self) -> bool:
        """Whether the job's end is committed: then nobody can hold it any more."""
        return isinstance(self._closing, End)

    def compose(self) -> Write | None:
        """What is to be written next, or None where there is nothing."""
        if self.place is REBUILD:
            return self._write(ANEW, self._opening() + self._rebuilt() + self._end())
        if self.place is FOLLOWS:
            entries = self._deltas(self.transcript.take())
            if self._closing is not None:
                return self._write(APPEND, entries + self._end())
            if entries:  # almost always
                return Write(self.channel.job, APPEND, tuple(entries), self._sent)
            return None
        if self.place is NEW and (self._started or self._closing):
            pieces = self._deltas(self.transcript.take())
            return self._write(FIRST, self._opening() + pieces + self._end())
        return None

    def applied(self, write: Write, result: Result) -> None:
        """Take in what the script said of the write."""
        if result is APPLIED and self._closing is None:  # almost always
            self._follow(write)
        elif result is Result.FENCED:
            self.shut()
            if self._closing is None:  # else a higher attempt may be this process's own next one
                self._fenced()
        elif result is Result.LOST:
            self.place = LOST
        elif self._closing is not None and write.last == self._closing.id:
            self.place = SHUT
        else:
            self._follow(write)

    def confirmed(self, holds: bool) -> None:
        """Take in whether the database says that this attempt still stands.

        One that does not is no proof that the job is lost: this process may be raising it just
        now. Renewing its lease will tell.
        """
        if holds:
            self.place = REBUILD
            self._touched(self)
        else:
            self.shut()

    def shut(self) -> None:
        """Write nothing more."""
        self.place = SHUT

    def _follow(self, write: Write) -> None:
        entries = write.entries
        size = ENTRY_BYTES * len(entries)
        for _, payload in entries:  # `write.size`, without a call: the hot path
            size += len(payload)
        self._log_bytes = size if write.mode is ANEW else self._log_bytes + size
        self.place = FOLLOWS
        self._sent = entries[-1][0]
        if self._log_bytes > self._log_limit:
            self._log_limit *= 2
            self.place = REBUILD

    def _write(self, mode: Mode, entries: list[Entry]) -> Write | None:
        if not entries:
            return None
        job, ended = self.channel.job, self.ended
        if mode is APPEND and not ended:
            return Write(job, mode, tuple(entries), self._sent)
        lives = self.channel.closed_life_s if ended else self.channel.open_life_s
        return Write(
            job=job,
            mode=mode,
            entries=tuple(entries),
            predecessor=self._sent if mode is APPEND else "",
            life_ms=int(lives * 1000),
            opens=mode is not APPEND and not ended,
            closes=ended,
        )

    def _opening(self) -> list[Entry]:
        return [] if self._started is None else [(self._started.id, encode(self._started))]

    def _end(self) -> list[Entry]:
        return [] if self._closing is None else [(self._closing.id, encode(self._closing))]

    def _rebuilt(self) -> list[Entry]:
        return [entry for piece in self.transcript.replay() for entry in self._deltas(_cut(piece))]

    def _deltas(self, pieces: Iterable[Piece]) -> list[Entry]:
        entries = []
        job, prefix = self.channel.job, f"{self.channel.attempt}-"
        for piece in pieces:
            id = f"{prefix}{piece.end}"
            entries.append((id, encode(_delta(id, job, piece))))
        return entries


def _cut(piece: Piece) -> Iterator[Piece]:
    """The piece in portions; one that opens a tool call counts one character more than it has."""
    if len(piece.text) <= PIECE_CHARACTERS or piece.extra is not None:
        yield piece
        return
    at, opening = piece.at, piece.end - piece.at - len(piece.text)
    for begin in range(0, len(piece.text), PIECE_CHARACTERS):
        text = piece.text[begin : begin + PIECE_CHARACTERS]
        end = piece.at + opening + begin + len(text)
        first = begin == 0
        yield structs.replace(
            piece,
            at=at,
            end=end,
            text=text,
            id=piece.id if first else None,
            name=piece.name if first else None,
        )
        at = end


def _delta(id: str, job: str, piece: Piece) -> Delta:
    if piece.part == "text" and piece.extra is None:
        return Delta(id=id, job=job, at=piece.at, choice=piece.choice, text=piece.text)
    call = None
    if piece.index is not None:
        call = ToolCall(piece.index, piece.id, piece.name, piece.text)
    return Delta(
        id=id,
        job=job,
        at=piece.at,
        choice=piece.choice,
        text=piece.text if piece.part == "text" else None,
        reasoning=piece.text if piece.part == "reasoning" else None,
        refusal=piece.text if piece.part == "refusal" else None,
        tool_call=call,
        extra=piece.extra,
    )
