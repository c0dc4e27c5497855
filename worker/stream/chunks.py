"""Events to chunks: the typed decoder for almost all of them, care for the rest.

Care is taken where the event has a type or is pending, where the typed decoder refuses, and
where the chunk shows no choice, or an error beside its choices. Only there is the event looked
at for an error, in the shapes `worker.classify` knows.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

import msgspec

from worker.classify import classify_event, classify_finish, error_in
from worker.errors import Category, UpstreamError
from worker.stream.documents import parse
from worker.stream.sse import DONE_DATA, ERROR_TYPE, Event
from worker.stream.tolerant import chunk_from
from worker.stream.wire import Choice, Chunk

_PING_TYPE = b"ping"
_decode_typed = msgspec.json.Decoder(Chunk).decode


class Done(Enum):
    """The type of `DONE`."""

    DONE = "[DONE]"


DONE: Final = Done.DONE


class Origin(msgspec.Struct, frozen=True):
    """The response an event came in, for the classification of an error in it."""

    status: int = 200
    headers: Mapping[str, str] = MappingProxyType({})
    host: str = ""


_UNKNOWN_ORIGIN = Origin()


def decode(event: Event, origin: Origin = _UNKNOWN_ORIGIN) -> Chunk | Done | None:
    """The chunk in `event`; DONE at `[DONE]`; None where it says nothing (a ping).

    A pending event proves nothing: its `[DONE]` is None, and its finish reasons are left out.

    Raises:
        UpstreamError: the event is an error, in any of its shapes; or it is no chunk at all
            (truncated/malformed_chunk): to skip it would leave a hole in the text.
    """
    if event.type is None and not event.pending:
        try:
            chunk = _decode_typed(event.data)
        except (ValueError, RecursionError):
            return _decode_with_care(event, origin)
        if chunk.choices and chunk.error is None and chunk.x_groq is None:
            for choice in chunk.choices:
                if choice.finish_reason or choice.native_finish_reason:
                    _raise_if_failed(choice, origin)
            return chunk
    return _decode_with_care(event, origin)


def _decode_with_care(event: Event, origin: Origin) -> Chunk | Done | None:
    data = event.data.strip()
    if event.type == _PING_TYPE:
        return None
    if event.type != ERROR_TYPE:  # that is an error even where it holds nothing, or `[DONE]`
        if not data:
            return None
        if data == DONE_DATA:
            return None if event.pending else DONE
    document = _document(event, data)
    _raise_error_in(document, event, origin)
    if isinstance(document, list) and len(document) == 1:
        document = document[0]
    if isinstance(document, dict):
        return _chunk(document, event, origin)
    if event.type is not None:
        return None  # a named event that is no chunk: not for us, as on the web
    raise _malformed(event)


def _document(event: Event, data: bytes) -> object:
    try:
        return parse(data)
    except ValueError as error:
        named_text = event.type is not None and not data.startswith((b"{", b"["))
        if named_text or event.type == ERROR_TYPE:
            return data.decode("utf-8", "replace")
        raise _malformed(event) from error


def _chunk(document: dict[str, object], event: Event, origin: Origin) -> Chunk:
    try:
        chunk = chunk_from(document)
    except (ValueError, RecursionError) as error:
        raise _malformed(event) from error
    for choice in chunk.choices:
        _raise_if_failed(choice, origin)
    return _without_proof(chunk) if event.pending else chunk


def _without_proof(chunk: Chunk) -> Chunk:
    choices = [msgspec.structs.replace(choice, finish_reason=None) for choice in chunk.choices]
    return msgspec.structs.replace(chunk, choices=choices)


def _raise_error_in(document: object, event: Event, origin: Origin) -> None:
    event_type = None if event.type is None else event.type.decode("utf-8", "replace")
    if event.type == ERROR_TYPE or error_in(document, event_type) is not None:
        raise _classified(document, event_type, origin)


def _raise_if_failed(choice: Choice, origin: Origin) -> None:
    error = classify_finish(choice.finish_reason, choice.native_finish_reason, status=origin.status)
    if error is not None:
        raise error


def _classified(document: object, event_type: str | None, origin: Origin) -> UpstreamError:
    return classify_event(
        document, event_type, status=origin.status, headers=origin.headers, host=origin.host
    )


def _malformed(event: Event) -> UpstreamError:
    # Without the data: it may hold the answer, or quote the prompt.
    return UpstreamError(
        Category.TRUNCATED,
        code="malformed_chunk",
        status=200,
        message=f"the upstream sent an event of {len(event.data)} bytes that is no chunk",
    )
