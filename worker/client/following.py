"""A job's events over as many connections as it takes; what opens and reads them is the caller."""

import json
from collections.abc import Iterator
from typing import TypeVar

import httpx

from worker.client.answers import error_of, error_within, unexpected
from worker.client.calls import path_of
from worker.client.errors import APIError, ClientError, ConnectionFailed, InvalidCursor
from worker.client.events import START, End, Event, event_of, place_of
from worker.client.exchange import failure_of, lasting
from worker.client.patience import Patience
from worker.client.sse import Decoder, ServerEvent

# A `retry:` hint is followed within these bounds; seconds.
SHORTEST_S, HINT_S, LONGEST_S = 0.1, 1.0, 30.0

E = TypeVar("E", bound=ClientError)


class Following:
    """One reading of a job's events, from a cursor to the end.

    The caller waits for `pause_s()`, opens a connection with `headers()`, tells its head by
    `opened` and its bytes by `hear`, and an error by `lost`; until there is nothing to wait for.

    Attributes:
        path: of the events.
        over: whether everything has been heard.
    """

    def __init__(self, job: str, after: str | None, patience: Patience) -> None:
        self.path = path_of(job, "/events")
        self._place = self._given = START if after is None else place_of(after)
        self._patience = patience
        patience.first_s = HINT_S
        self._decoder = Decoder()
        self.over = False
        # What it means when the open stream ends now. None where there is none, or none that did
        # well: then patience knows why.
        self._cut: ConnectionFailed | None = None

    @property
    def cursor(self) -> str:
        """The id of the last event it has yielded, or what it was given."""
        return str(self._place)

    def pause_s(self) -> float | None:
        """Seconds to wait before the next connection; None: everything has been heard.

        Raises:
            ClientError: patience is over; it bears the cursor.
        """
        if self.over:
            return None
        if self._cut is not None:
            self._patience.succeeded()
            self._patience.failed(self._marked(self._cut))
        return self._patience.pause_s()

    def headers(self) -> dict[str, str]:
        """Those of the next connection."""
        self._decoder = Decoder()
        self._cut = None
        headers = {"accept": "text/event-stream", "accept-encoding": "identity"}
        if self._place > START:
            headers["last-event-id"] = self.cursor
        return headers

    def opened(self, response: httpx.Response) -> bool:
        """Whether the response is a stream to be read. If not, its body has been read.

        Raises:
            APIError: it is an error that lasts; it bears the cursor.
        """
        if response.status_code == httpx.codes.NO_CONTENT:
            self.over = True
        elif response.status_code != httpx.codes.OK:
            self._failed(error_of(response))
        elif not response.headers.get("content-type", "").startswith("text/event-stream"):
            self._failed(unexpected("no event stream"))
        else:
            self._cut = ConnectionFailed(f"the stream of {self.path} broke off")
        return self._cut is not None

    def hear(self, data: bytes) -> Iterator[Event]:
        """The events that the bytes complete, but those that the cursor has seen.

        Raises:
            APIError: the gateway ends the stream with an error that lasts; it bears the cursor.
        """
        for dispatched in self._decoder.feed(data):
            if dispatched.type == "error":
                self._cut = None
                self._failed(_complaint(dispatched))
                return
            event = self._fresh(dispatched)
            if event is not None:
                yield event
        if self._decoder.retry_s is not None:
            self._patience.first_s = min(max(self._decoder.retry_s, SHORTEST_S), LONGEST_S)

    def lost(self, error: httpx.RequestError) -> None:
        """The connection could not be opened, or broke.

        Raises:
            ConnectionFailed: no other can be opened either.
        """
        failure = failure_of(error)
        if self._cut is None:
            self._patience.failed(self._marked(failure))
        else:
            self._cut = failure

    def _fresh(self, dispatched: ServerEvent) -> Event | None:
        try:
            document = json.loads(dispatched.data)
            event, place = event_of(document), place_of(document["id"])
        except (ValueError, LookupError, TypeError, AttributeError, ClientError):
            raise self._marked(unexpected("no event of this API")) from None
        if place <= self._place:
            return None
        self._place = place
        self.over = isinstance(event, End)
        return event

    def _failed(self, error: APIError) -> None:
        if isinstance(error, InvalidCursor) and self._place != self._given:
            error.transient = True  # it came from there: a log that was lost is being rebuilt
        self._patience.failed(lasting(self._marked(error)))

    def _marked(self, error: E) -> E:
        error.cursor = self.cursor
        return error


def _complaint(dispatched: ServerEvent) -> APIError:
    try:
        return error_within(json.loads(dispatched.data)["error"])
    except (ValueError, LookupError, TypeError, AttributeError):
        return unexpected("an error without words")
