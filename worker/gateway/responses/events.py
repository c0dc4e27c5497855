"""A job's channel events as a response's stream events.

A pure function: what is sent, and under which number, depends on the output alone and not on how
it was cut, so a stream goes on from any number, at any time, from the log or from the database.
"""

from collections.abc import Iterator, Mapping, Sequence

from models import Attempt
from worker.channel.events import (
    ChannelEvent,
    Completed,
    Delta,
    End,
    Failed,
    Retrying,
)
from worker.openai.responses.items import Event, Items
from worker.openai.responses.numbers import (
    CREATED,
    END,
    IN_PROGRESS,
    QUEUED,
    number,
    place,
)

Document = Mapping[str, object]


class Events:
    """Makes the stream of one reader.

    Args:
        job: the job's id.
        head: the response as it is before it begins; each event that shows it adds its status.
        after: the last number that the reader has; -1 for none.
        logprobs: whether it wants log probabilities.
    """

    def __init__(
        self, job: str, head: Document, after: int = -1, *, logprobs: bool = False
    ) -> None:
        self._job = job
        self._head = head
        self._after = after
        self._seen = place(max(after, 0))
        self._logprobs = logprobs
        self._opened = 0
        self._items: Items | None = None
        # The highest attempt of which all has been told that can be.
        self._attempt = 0
        self._begun = False

    def begin(self) -> list[Event]:
        """What is so from the beginning: the response exists, and waits."""
        return self._new((self._life("created", CREATED), self._life("queued", QUEUED)))

    def lacks(self, event: ChannelEvent) -> bool:
        """Whether attempts went before of which nothing was heard: `recall` tells of them."""
        return event.cursor.attempt > self._attempt + 1

    def recall(self, attempts: Sequence[Attempt], before: ChannelEvent) -> list[Event]:
        """What attempts opened that were not heard of: items without their text, closed."""
        told = self._void()
        for row in attempts:
            if self._attempt < row.number < before.cursor.attempt:
                items = Items(self._job, row.number, self._opened)
                for choice, part, length in row.parts or []:
                    if choice == 0:
                        told += items.skip(part, length)
                told += items.close("incomplete")
                self._opened += len(items)
        self._attempt = before.cursor.attempt - 1
        return self._new((*self._in_progress(), *told))

    def take(self, event: ChannelEvent) -> list[Event]:
        """What an event means that is not the job's end."""
        told = list(self._in_progress())
        attempt = event.cursor.attempt
        if attempt > self._attempt or isinstance(event, Retrying):
            told += self._void()
        self._attempt = max(attempt, self._attempt)
        if isinstance(event, Delta) and event.choice == 0:
            if self._items is None:
                self._items = Items(self._job, attempt, self._opened)
            told += self._items.take(event, self._seen, logprobs=self._logprobs)
        return self._new(told)

    def end(self, event: End, response: Document) -> list[Event]:
        """The end: what is open is closed, and the response is shown as it stays."""
        told = list(self._in_progress())
        attempt = event.cursor.attempt
        if attempt > self._attempt:
            told += self._void()
        if self._items is not None:
            told += self._items.close("completed" if isinstance(event, Completed) else "incomplete")
        last = told[-1]["sequence_number"] if told else 0
        ended = number(attempt, event.length + 1, END)
        # So many items to close that their numbers pass the end's are more than anybody opens.
        ended = max(ended, int(str(last)) + 1)
        kind = _ending(event)
        told.append(
            {"type": f"response.{kind}", "sequence_number": ended, "response": dict(response)}
        )
        return self._new(told)

    def _in_progress(self) -> Iterator[Event]:
        if not self._begun:
            self._begun = True
            yield self._life("in_progress", IN_PROGRESS)

    def _life(self, kind: str, sequence_number: int) -> Event:
        status = "in_progress" if kind == "in_progress" else "queued"
        response = {**self._head, "status": status}
        return {
            "type": f"response.{kind}",
            "sequence_number": sequence_number,
            "response": response,
        }

    def _void(self) -> list[Event]:
        """Close the items of an attempt that has come to nothing."""
        items, self._items = self._items, None
        if items is None:
            return []
        self._opened += len(items)
        return list(items.close("incomplete"))

    def _new(self, told: Sequence[Event]) -> list[Event]:
        return [event for event in told if int(str(event["sequence_number"])) > self._after]


def _ending(event: End) -> str:
    """The event's name; OpenAI's clients know none for a response that was cancelled."""
    match event:
        case Completed():
            return "completed"
        case Failed():
            return "failed"
    return "incomplete"
