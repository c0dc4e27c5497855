"""Transitions of jobs made into spans."""

import hashlib
from collections.abc import Iterator
from datetime import datetime

from msgspec import Struct
from opentelemetry import trace
from opentelemetry.context import Context as Scope
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from models import Job
from worker import __version__
from worker.errors import UpstreamError
from worker.tracing.attributes import Attributes, of_answer, of_request
from worker.tracing.content import answer_of, prompt_of
from worker.tracing.context import Context, sender
from worker.transitions import Step, Transition

_PROPAGATOR = TraceContextTextMapPropagator()
SYSTEM = {"messaging.system": "deltaworks"}


class Open(Struct):
    """The spans of a job that this process holds."""

    run: Span
    attempt: Span | None = None
    settle: Span | None = None


class JobSpans:
    """The spans of one process. `content` has them hold prompts and answers."""

    def __init__(self, provider: TracerProvider, *, content: bool = False) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("deltaworks", __version__)
        self._content = content
        self._open: dict[str, Open] = {}

    @classmethod
    def of_program(cls) -> "JobSpans":
        """Those of a program that has its own idea of OpenTelemetry."""
        return cls(trace.get_tracer_provider())

    def submitting(self, id: str, lane: str, model: str) -> Iterator[Context | None]:
        """A span around a submit, and what the job is to keep of it."""
        current = trace.get_current_span().get_span_context()
        scope = None if current.is_valid else _scope(sender())
        attributes = {
            **SYSTEM,
            "messaging.operation.name": "submit",
            "messaging.operation.type": "send",
            "messaging.destination.name": lane,
            "messaging.message.id": id,
            "gen_ai.request.model": model,
        }
        span = self._tracer.start_span(f"submit {lane}", scope, SpanKind.PRODUCER, attributes)
        try:
            yield _context(span) or sender()
        except BaseException as error:
            _fail(span, type(error).__name__)
            raise
        finally:
            span.end()

    def current(self, job: str) -> Context | None:
        """The context of the job's request, where there is one."""
        held = self._open.get(job)
        return None if held is None or held.attempt is None else _context(held.attempt)

    def observe(self, told: Transition) -> None:
        """Begin and end what the transition begins and ends."""
        match told.step:
            case Step.CLAIMED:
                self._claimed(told.job)
            case Step.STARTED:
                self._started(told)
            case Step.RESCUED:
                self._rescued(told.job)
            case Step.SETTLING:
                self._settling(told)
            case Step.RETRYING:
                self._end_attempt(told)
            case Step.SETTLED | Step.SPOOLED | Step.GIVEN_BACK | Step.LOST:
                self._end(told)

    def _claimed(self, job: Job) -> None:
        before = self._open.pop(job.id, None)
        if before is not None:
            _close(before, "lost")
        attributes: Attributes = {
            **SYSTEM,
            "messaging.operation.name": "run",
            "messaging.operation.type": "process",
            "messaging.destination.name": job.lane,
            "messaging.message.id": job.id,
            "deltaworks.job.id": job.id,
            "deltaworks.attempt": job.attempt,
            "deltaworks.lane": job.lane,
        }
        if job.batch_id is not None:
            attributes["deltaworks.batch.id"] = job.batch_id
        span = self._tracer.start_span(
            f"run {job.lane}", self._scope_of(job), SpanKind.CONSUMER, attributes
        )
        self._open[job.id] = Open(span)

    def _started(self, told: Transition) -> None:
        held, exchange = self._open.get(told.job.id), told.exchange
        if held is None or exchange is None:
            return
        attributes = of_request(exchange)
        span = self._tracer.start_span(
            f"chat {attributes['gen_ai.request.model']}",
            trace.set_span_in_context(held.run, Scope()),
            SpanKind.CLIENT,
            attributes,
        )
        if self._content and span.is_recording():
            span.set_attributes(prompt_of(exchange))
        held.attempt = span

    def _end_attempt(self, told: Transition) -> None:
        held = self._open.get(told.job.id)
        span = None if held is None else held.attempt
        if held is None or span is None:
            return
        held.attempt = None
        exchange = told.exchange
        if exchange is not None and span.is_recording():
            span.set_attributes(of_answer(exchange))
            if exchange.first_delta_at is not None:
                at = _nanoseconds(exchange.first_delta_at)
                span.add_event("gen_ai.first_token", timestamp=at)
            if self._content:
                span.set_attributes(answer_of(exchange))
        if told.error is not None:
            _blame(span, told.error)
        elif told.step in (Step.GIVEN_BACK, Step.LOST):
            _fail(span, told.reason or told.step.value)
        if told.wait_s is not None:
            span.set_attribute("deltaworks.wait_s", told.wait_s)
        span.end()

    def _settling(self, told: Transition) -> None:
        self._end_attempt(told)
        if (held := self._open.get(told.job.id)) is not None:
            scope = trace.set_span_in_context(held.run, Scope())
            held.settle = self._tracer.start_span("settle", scope)

    def _end(self, told: Transition) -> None:
        self._end_attempt(told)
        held = self._open.get(told.job.id)
        # Who ends a job that another holds, or that nobody does, has no span of it here.
        if held is None or (told.step is Step.SETTLED and held.settle is None):
            return
        del self._open[told.job.id]
        job, run = told.job, held.run
        run.set_attribute("deltaworks.state", job.state if told.step is Step.SETTLED else told.step)
        if told.wait_s is not None:
            run.set_attribute("deltaworks.wait_s", told.wait_s)
        if told.error is not None:
            _blame(run, told.error)
        _close(held, told.step.value if told.step is Step.LOST else None)

    def _rescued(self, job: Job) -> None:
        attributes: Attributes = {
            "deltaworks.job.id": job.id,
            "deltaworks.attempt": job.attempt,
        }
        self._tracer.start_span("rescue", self._scope_of(job), attributes=attributes).end()

    def _scope_of(self, job: Job) -> Scope:
        """Where the job's spans belong."""
        if job.trace_context:
            return _scope(job.trace_context)
        digest = hashlib.sha256(job.id.encode()).digest()
        trace_id, span_id = int.from_bytes(digest[:16]), int.from_bytes(digest[16:24])
        # The sampler decides by the trace's id, so it decides alike in each process.
        sampler = getattr(self._provider, "sampler", None)
        sampled = (
            sampler is None
            or sampler.should_sample(
                Scope(), trace_id, "run", SpanKind.CONSUMER
            ).decision.is_sampled()
        )
        flags = TraceFlags(TraceFlags.SAMPLED if sampled else TraceFlags.DEFAULT)
        parent = SpanContext(trace_id, span_id, is_remote=True, trace_flags=flags)
        return trace.set_span_in_context(NonRecordingSpan(parent), Scope())


def _scope(context: Context | None) -> Scope:
    return _PROPAGATOR.extract(context or {}, Scope())


def _context(span: Span) -> Context | None:
    carrier: Context = {}
    _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Scope()))
    return carrier or None


def _blame(span: Span, error: UpstreamError) -> None:
    # The category has few values; the upstream's own words may quote a prompt.
    _fail(span, error.category.value)
    if error.code is not None:
        span.set_attribute("deltaworks.error.code", error.code)
    if error.status is not None:
        span.set_attribute("http.response.status_code", error.status)


def _fail(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR, kind))


def _close(held: Open, kind: str | None) -> None:
    for span in (held.attempt, held.settle, held.run):
        if span is not None and kind is not None:
            _fail(span, kind)
        if span is not None:
            span.end()


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1_000_000) * 1_000
