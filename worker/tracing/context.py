"""The headers of W3C Trace Context: as they come, as a job keeps them, as an upstream gets them."""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from models import Job

Context = dict[str, str]

# Version 00, the only one there is; neither id may be all zeros (W3C Trace Context, 3.2).
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# What has to be propagated at least (the same, 3.3.1.5); a longer one is dropped.
LONGEST_STATE = 512

_received: ContextVar[Context | None] = ContextVar("received", default=None)


class Spans(Protocol):
    """What OpenTelemetry does for us, where it is used (see `worker.tracing.spans`)."""

    def submitting(self, id: str, lane: str, model: str) -> Iterator[Context | None]:
        """A span around a submit, and its context."""

    def current(self, job: str) -> Context | None:
        """The context of the job's request, where this process traces it."""


class _Active:
    spans: Spans | None = None


def use(spans: Spans) -> None:
    """Have spans made in this process."""
    _Active.spans = spans


@contextmanager
def received(headers: Mapping[str, object]) -> Iterator[None]:
    """A block in which what is submitted belongs to the trace that these headers name, if any."""
    context = context_of(headers)
    if context is None:
        yield
        return
    token = _received.set(context)
    try:
        yield
    finally:
        _received.reset(token)


def context_of(headers: Mapping[str, object]) -> Context | None:
    """The context that these headers name; None where they name none, or in vain."""
    parent, state = headers.get("traceparent"), headers.get("tracestate")
    if not isinstance(parent, str) or not _TRACEPARENT.fullmatch(parent):
        return None
    if not isinstance(state, str) or not state.isascii() or not 0 < len(state) <= LONGEST_STATE:
        return {"traceparent": parent}
    return {"traceparent": parent, "tracestate": state}


def sender() -> Context | None:
    """The context of the request that is being answered."""
    return _received.get()


@contextmanager
def submitting(id: str, lane: str, model: str) -> Iterator[Context | None]:
    """A span around a submit; gives the context that the job is to keep."""
    spans = _spans()
    if spans is None:
        yield sender()
        return
    yield from spans.submitting(id, lane, model)


def propagated(job: Job) -> Mapping[str, str]:
    """What an upstream is told of the trace that the job's request belongs to."""
    spans = _Active.spans
    current = None if spans is None else spans.current(job.id)
    return current or job.trace_context or {}


def _spans() -> Spans | None:
    # Who has not imported OpenTelemetry has no current span.
    if _Active.spans is None and "opentelemetry.trace" in sys.modules:
        from worker.tracing.spans import JobSpans

        return JobSpans.of_program()
    return _Active.spans
