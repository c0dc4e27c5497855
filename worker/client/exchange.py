"""A request and its answer, over as many tries as it takes; what sends them is the caller."""

from collections.abc import Mapping, Sequence
from ssl import SSLCertVerificationError
from typing import Any, Generic, TypeVar

import httpx

from worker.client import calls
from worker.client.answers import error_of, error_within, unexpected
from worker.client.calls import Call
from worker.client.errors import APIError, ClientError, ConnectionFailed
from worker.client.jobs import Job
from worker.client.patience import Patience

T = TypeVar("T")


class Exchange(Generic[T]):
    """Sends a call until it has an answer.

    The caller waits for `pause_s()`, sends `call`, and tells what came of it by `hear` or `lost`,
    until there is nothing to wait for: then `result` is there.
    """

    result: T

    def __init__(self, call: Call[T], patience: Patience) -> None:
        self.call: Call[Any] = call
        self._patience = patience
        self._done = False

    def pause_s(self) -> float | None:
        """Seconds to wait before the call is sent; None: it has been answered.

        Raises:
            ClientError: patience is over.
        """
        return None if self._done else self._patience.pause_s()

    def hear(self, response: httpx.Response) -> None:
        """The call was answered.

        Raises:
            APIError: with an error that lasts, or with nothing of this API.
        """
        if not response.is_success:
            self._patience.failed(lasting(error_of(response)))
            return
        try:
            self._take(self.call.read(response.json()))
        except (ValueError, LookupError, TypeError):
            raise unexpected("not the JSON of this API") from None

    def lost(self, error: httpx.RequestError) -> None:
        """The call came to nothing.

        Raises:
            ConnectionFailed: and would again.
        """
        self._patience.failed(failure_of(error))

    def _take(self, result: T) -> None:
        self.result = result
        self._done = True


class ManySubmitted(Exchange[Sequence[Job | APIError]]):
    """Job requests of one call; those that a passing fault refused are sent again, alone."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], patience: Patience) -> None:
        self._documents = [calls.named(document) for document in documents]
        self._open = list(range(len(documents)))
        self._answers: dict[int, Job | APIError] = {}
        super().__init__(calls.submit_list(self._documents), patience)

    def pause_s(self) -> float | None:
        """Seconds to wait before the call is sent; None: there are answers to all.

        Raises:
            ClientError: patience is over before there was any.
        """
        try:
            return super().pause_s()
        except ClientError:
            if not self._answers:
                raise
            return None

    def _take(self, result: Any) -> None:
        for place, answer in zip(self._open, result, strict=True):
            is_error = answer["object"] == "error"
            self._answers[place] = error_within(answer["error"]) if is_error else answer
        self.result = [self._answers[place] for place in sorted(self._answers)]
        passing = {
            place: answer
            for place, answer in self._answers.items()
            if isinstance(answer, APIError) and answer.transient
        }
        self._open = sorted(passing)
        self._done = not passing
        if passing:
            self._patience.failed(passing[self._open[0]])
            self.call = calls.submit_list([self._documents[place] for place in self._open])


def lasting(error: APIError) -> APIError:
    """The error, if another try may get round it.

    Raises:
        APIError: it may not.
    """
    if not error.transient:
        raise error
    return error


def failure_of(error: httpx.RequestError) -> ConnectionFailed:
    """What httpx's error means, without its words: they may quote what was sent.

    Raises:
        ConnectionFailed: another try would come to the same.
    """
    url = error.request.url
    origin = f"{url.scheme}://{url.netloc.decode()}"  # without a password that it may hold
    failure = ConnectionFailed(f"no answer from {origin}: {type(error).__name__}")
    failure.__cause__ = error
    hopeless = isinstance(error, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
    if hopeless or _is_of_certificate(error):
        raise failure
    return failure


def _is_of_certificate(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, SSLCertVerificationError):
        error = error.__cause__ or error.__context__
    return error is not None
