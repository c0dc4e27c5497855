"""Faults of the connection and of time: cuts, missing ends, stalls and keep-alives."""

import itertools

from worker.simulator.chunks import DONE
from worker.simulator.completion import EVENT_STREAM, Completion
from worker.simulator.faults.fault import Fault
from worker.simulator.steps import End, Event, Head, Step, Steps, Wait, until_delta


def _cut_eof(steps: Steps, completion: Completion) -> Steps:
    return until_delta(steps, completion.strike_at)


def _cut_fin(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    yield End.FIN


def _cut_rst(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    yield End.RST


def _cut_before_headers(_steps: Steps, completion: Completion) -> Steps:
    yield Wait(completion.plan.ttft)
    yield End.FIN


def _reset_before_headers(_steps: Steps, completion: Completion) -> Steps:
    yield Wait(completion.plan.ttft)
    yield End.RST


def _cut_inside_event(steps: Steps, completion: Completion) -> Steps:
    """Half an event whose HTTP chunk is complete; then FIN."""
    yield from until_delta(steps, completion.strike_at)
    yield Event(b'data: {"choices":[{"index":0,"delta":{"content":"l')
    yield End.FIN


def _cut_after_finish(steps: Steps, _completion: Completion) -> Steps:
    for step in steps:
        yield step
        if isinstance(step, Event) and step.finish is not None:
            yield End.RST


def _without(steps: Steps, unwanted: Step) -> Steps:
    return (step for step in steps if step != unwanted)


def _no_done(steps: Steps, _completion: Completion) -> Steps:
    return _without(steps, Event(DONE))


def _done_only(steps: Steps, _completion: Completion) -> Steps:
    return (step for step in steps if not (isinstance(step, Event) and step.finish))


def _done_twice(steps: Steps, _completion: Completion) -> Steps:
    return itertools.chain(steps, [Event(DONE)])


def _empty(_steps: Steps, _completion: Completion) -> Steps:
    yield Head(200, EVENT_STREAM)


def _close_delimited(steps: Steps, _completion: Completion) -> Steps:
    """HTTP/1.0 style: neither a length nor chunks, the end of the connection ends the body."""
    for step in steps:
        if isinstance(step, Head):
            yield Head(step.status, step.headers, until_close=True)
        else:
            yield step


def _stall_headers(steps: Steps, completion: Completion) -> Steps:
    yield Wait(completion.plan.for_s)
    yield from steps


def _stall_first_token(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, 0)
    yield Wait(completion.plan.for_s)
    yield from steps


def _stall_mid(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    yield Wait(completion.plan.for_s)
    yield from steps


def _comments(steps: Steps, completion: Completion) -> Steps:
    """Keep-alives instead of tokens, as DeepSeek and OpenRouter send them to queued requests."""
    yield from until_delta(steps, 0)
    waited_s = 0.0
    while waited_s < completion.plan.for_s:
        yield Event(b": keep-alive\n\n")
        yield Wait(completion.plan.every)
        waited_s += completion.plan.every
    yield from steps


def _pings(steps: Steps, _completion: Completion) -> Steps:
    pings = itertools.cycle(
        (
            b"event: ping\n\n",
            b'event: ping\ndata: {"type":"ping"}\n\n',
            b"event: ping\ndata: pong\n\n",
            b": ping\n\n",
        )
    )
    for step in steps:
        if isinstance(step, Event):
            yield Event(next(pings))
        yield step


def _drip(steps: Steps, completion: Completion) -> Steps:
    """A byte at a time, so slowly that no token ever seems to arrive."""
    pause = Wait(completion.plan.every)
    for step in steps:
        if isinstance(step, Event):
            for byte in step.data[:-1]:
                yield Event(bytes((byte,)))
                yield pause
            yield Event(step.data[-1:], step.part, step.text, step.finish)
        else:
            yield step


CUTS = (
    Fault(
        "cut-eof", "The body ends properly in mid-stream: no finish_reason, no [DONE].", _cut_eof
    ),
    Fault("cut-fin", "The connection closes in mid-stream, without the last HTTP chunk.", _cut_fin),
    Fault("cut-rst", "The connection is reset in mid-stream.", _cut_rst),
    Fault("cut-inside-event", "The connection closes within an event.", _cut_inside_event),
    Fault(
        "cut-after-finish",
        "The connection is reset behind the first finish_reason.",
        _cut_after_finish,
        False,
    ),
    Fault(
        "cut-before-headers",
        "The connection closes before the headers.",
        _cut_before_headers,
        streams_only=False,
    ),
    Fault(
        "reset-before-headers",
        "The connection is reset before the headers.",
        _reset_before_headers,
        streams_only=False,
    ),
    Fault("no-done", "A finish_reason, but no [DONE].", _no_done, False),
    Fault("done-only", "The text, then [DONE], but no finish_reason.", _done_only, False),
    Fault("done-twice", "[DONE] comes twice.", _done_twice, False),
    Fault("empty", "HTTP 200 and an empty body.", _empty),
    Fault(
        "close-delimited",
        "No length and no chunks: the connection's end ends the body.",
        _close_delimited,
        False,
    ),
    Fault(
        "stall-headers",
        "Silence before the headers, for=SECONDS.",
        _stall_headers,
        streams_only=False,
    ),
    Fault("stall-first-token", "Headers, then silence, for=SECONDS.", _stall_first_token),
    Fault("stall-mid", "Silence in mid-stream, for=SECONDS.", _stall_mid),
    Fault(
        "comments", "Keep-alive comments instead of tokens, for=SECONDS, every=SECONDS.", _comments
    ),
    Fault("pings", "Pings with and without data before every event.", _pings, False),
    Fault("drip", "One byte each every=SECONDS.", _drip),
)
