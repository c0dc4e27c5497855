"""Faults of bytes: what a careless decoder trips over. A good one reads them all."""

import zlib
from collections.abc import Callable

from worker.simulator.chunks import encode
from worker.simulator.completion import Completion
from worker.simulator.faults.fault import Fault
from worker.simulator.steps import FLUSH, Event, Head, Steps, map_events, until_delta

_CONTENT = (0, "content")


def _split_bytes(steps: Steps, _completion: Completion) -> Steps:
    for step in steps:
        if isinstance(step, Event):
            for byte in step.data[:-1]:
                yield Event(bytes((byte,)))
                yield FLUSH
            yield Event(step.data[-1:], step.part, step.text, step.finish)
            yield FLUSH
        else:
            yield step


def _newlines(newline: bytes) -> Callable[[Steps, Completion], Steps]:
    # JSON has no raw newlines, so every one of them ends a line of the event stream.
    return lambda steps, _completion: map_events(steps, lambda data: data.replace(b"\n", newline))


def _multi_line(steps: Steps, _completion: Completion) -> Steps:
    return map_events(steps, lambda data: data.replace(b',"choices":', b'\ndata:,"choices":'))


def _ids(steps: Steps, _completion: Completion) -> Steps:
    return map_events(steps, lambda data: b"id: 1\nretry: 3000\n" + data + b": keep-alive\n\n")


def _bom(steps: Steps, _completion: Completion) -> Steps:
    for step in steps:
        yield step
        if isinstance(step, Head):
            yield Event(b"\xef\xbb\xbf")


def _insert(steps: Steps, completion: Completion, *pieces: tuple[bytes, str]) -> Steps:
    """Deltas of choice 0 amid the others: each a JSON string literal and what it means."""
    yield from until_delta(steps, completion.strike_at)
    for literal, said in pieces:
        delta = completion.chunks.delta(0, b'{"content":%b}' % literal)
        yield Event(delta, _CONTENT, said)
    yield from steps


def _separators(steps: Steps, completion: Completion) -> Steps:
    said = "a\u2028b\u2029c\u0085d\x7fe"
    return _insert(steps, completion, (f'"{said}"'.encode(), said))


def _surrogates(steps: Steps, completion: Completion) -> Steps:
    return _insert(steps, completion, (rb'"\ud83d"', ""), (rb'"\ude42"', "🙂"))


def _lone_surrogate(steps: Steps, completion: Completion) -> Steps:
    return _insert(steps, completion, (rb'"a\ud83d"', "a\ufffd"), (b'"b"', "b"))


def _nul(steps: Steps, completion: Completion) -> Steps:
    return _insert(steps, completion, (rb'"a\u0000b"', "a\0b"))


def _null_content(steps: Steps, completion: Completion) -> Steps:
    return _insert(steps, completion, (b"null", ""), (b'""', ""))


def _huge_event(steps: Steps, completion: Completion) -> Steps:
    said = "x" * completion.plan.size
    return _insert(steps, completion, (encode(said), said))


def _malformed(steps: Steps, completion: Completion) -> Steps:
    yield from until_delta(steps, completion.strike_at)
    yield Event(b'data: {"choices":[{"index":0,"delta":{"content": oops}}]}\n\n')
    yield from steps


def _azure_chunks(steps: Steps, completion: Completion) -> Steps:
    """Filter chunks without a delta, as Azure's asynchronous filter sends them, also at the end."""
    opening = b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
    offsets = b'[{"index":0,"finish_reason":null,"content_filter_offsets":{"check_offset":44}}]'
    for step in steps:
        yield step
        if isinstance(step, Head):
            yield Event(opening)
        elif isinstance(step, Event) and (step.part is not None or step.finish is not None):
            yield Event(completion.chunks.chunk(offsets))


def _usage_missing(steps: Steps, _completion: Completion) -> Steps:
    return (s for s in steps if not (isinstance(s, Event) and b'"choices":[],"usage":{' in s.data))


def _no_content_type(steps: Steps, _completion: Completion) -> Steps:
    for step in steps:
        yield Head(step.status, {}, step.length) if isinstance(step, Head) else step


def _gzip(steps: Steps, _completion: Completion) -> Steps:
    """Compressed, although a client that wants to see deltas asks for identity."""
    compressor = zlib.compressobj(wbits=31)

    def squeeze(data: bytes) -> bytes:
        return compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH)

    for step in map_events(steps, squeeze):
        if isinstance(step, Head):
            yield Head(step.status, {**step.headers, "content-encoding": "gzip"}, step.length)
        else:
            yield step
    yield Event(compressor.flush())


def _gzip_cut(steps: Steps, completion: Completion) -> Steps:
    return until_delta(_gzip(steps, completion), completion.strike_at)


ENCODINGS = (
    Fault("split-bytes", "Every byte is written by itself.", _split_bytes, False),
    Fault("crlf", "Lines end with CR LF.", _newlines(b"\r\n"), False),
    Fault("cr", "Lines end with CR.", _newlines(b"\r"), False),
    Fault("multi-line", "Each event spreads over two data lines.", _multi_line, False),
    Fault("ids", "Events carry id and retry; comments follow each.", _ids, False),
    Fault("bom", "The body begins with a byte order mark.", _bom, False),
    Fault("u2028", "A delta holds U+2028, U+2029 and U+0085, unescaped.", _separators, False),
    Fault("surrogates", "An emoji comes as two deltas, half a character each.", _surrogates, False),
    Fault("lone-surrogate", "Half an emoji whose other half never comes.", _lone_surrogate, False),
    Fault("nul", "A delta holds U+0000.", _nul, False),
    Fault("null-content", "Deltas whose content is null or empty.", _null_content, False),
    Fault("huge-event", "One delta of size=CHARACTERS.", _huge_event, False),
    Fault("malformed-json", "A chunk that is no JSON, then more deltas.", _malformed),
    Fault(
        "azure-chunks",
        "Filter chunks without a delta between and after the others.",
        _azure_chunks,
        False,
    ),
    Fault("usage-missing", "No usage chunk, though asked for.", _usage_missing, False),
    Fault("no-content-type", "An event stream without a content-type.", _no_content_type, False),
    Fault("gzip", "The stream is gzipped whatever the client accepts.", _gzip, False),
    Fault("gzip-cut", "A gzipped stream stops in the middle; the body ends properly.", _gzip_cut),
)
