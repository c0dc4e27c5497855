"""`POST /v1/chat/completions`: queue the request as an interactive job, and relay it."""

from collections.abc import AsyncIterator

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from models import Job, JobState
from worker.access import Scope
from worker.channel.events import ChannelEvent, Delta, End, Started
from worker.errors import InvalidRequest
from worker.gateway.abandonment import is_continued
from worker.gateway.answers import JOB, json_answer
from worker.gateway.body import gateway_of, object_of, principal_of
from worker.gateway.chat.chunks import Chunks
from worker.gateway.failures import refusal_for
from worker.gateway.gateway import Gateway
from worker.gateway.queueing import queued
from worker.gateway.refusals import refusal_of
from worker.gateway.sse import HEARTBEAT, json_frame
from worker.gateway.stream import Awaited, Held
from worker.openai.completion import completion
from worker.request import object_of as object_in
from worker.request import shown
from worker.stream.extras import merged
from worker.stream.wire import Extra

HOLD = "x-deltaworks-hold"


class Wish(Struct, frozen=True):
    """How the client wants its answer: in chunks or in one piece, and what with it."""

    stream: bool
    usage: bool
    hold: bool
    continued: bool


async def complete(request: Request) -> Response:
    """The endpoint."""
    principal = await principal_of(request, Scope.WRITE)
    gateway, body = gateway_of(request), await object_of(request)
    principal.require_model(body.get("model"))
    wish = _wish(request, body)
    document: dict[str, object] = {"request": body}
    if (key := request.headers.get("idempotency-key")) is not None:
        document["idempotency_key"] = key
    job = await queued(gateway, principal, document)
    headers = {JOB: job.id}
    if wish.stream:
        chosen = gateway.client.settings
        frames = _frames(gateway, job, wish)
        return Held(frames, _said, chosen.hold_s, headers, slow_s=chosen.slow_reader_s)
    return Awaited(_answer(gateway, job, wish, headers), headers)


def _wish(request: Request, body: dict[str, object]) -> Wish:
    """Take out of the body what is between the client and us."""
    stream = body.pop("stream", None)
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("stream", f"is {shown(stream)}", "give true or false")
    options = body.pop("stream_options", None)
    if options is not None and not stream:
        raise InvalidRequest("stream_options", "stands without stream", "set stream to true")
    options = {} if options is None else object_in(options, "stream_options")
    return Wish(
        stream=bool(stream),
        usage=options.get("include_usage") is True,
        hold=request.headers.get(HOLD, "").lower() == "true",
        continued=is_continued(request.headers),
    )


async def _frames(gateway: Gateway, job: Job, wish: Wish) -> AsyncIterator[bytes]:
    chunks = Chunks(job, hold=wish.hold, usage=wish.usage)
    with gateway.abandonment.watching(job.id, continued=wish.continued):
        async with gateway.relays.reader(job.id) as reader:
            while not reader.ended:
                events = await reader.more()
                if content := b"".join(chunks.frames(events)):
                    yield content
                elif not events:
                    yield HEARTBEAT
        end = events[-1]
        assert isinstance(end, End)
        yield b"".join(chunks.ending(await _ended(gateway, job), end))


async def _ended(gateway: Gateway, job: Job) -> Job:
    """The job's row, which is committed before its end is told.

    Raises:
        Refusal: it has no output.
    """
    row = await gateway.client.store.jobs.get(job.id)
    if row.state in (JobState.FAILED, JobState.CANCELLED):
        raise refusal_for(row)
    return row


async def _answer(gateway: Gateway, job: Job, wish: Wish, headers: dict[str, str]) -> Response:
    extras: dict[int, Extra] = {}
    with gateway.abandonment.watching(job.id, continued=wish.continued):
        async with gateway.relays.reader(job.id) as reader:
            while not reader.ended:
                for event in await reader.more():
                    _collect(extras, event)
        document = completion(await _ended(gateway, job), extras)
    return json_answer(document, 200, headers)


def _collect(extras: dict[int, Extra], event: ChannelEvent) -> None:
    if isinstance(event, Started):
        extras.clear()
    elif isinstance(event, Delta) and event.extra:
        extras[event.choice] = merged(extras.get(event.choice, {}), event.extra)
    elif isinstance(event, End):
        for choice, extra in (event.extra or {}).items():
            extras[choice] = merged(extras.get(choice, {}), extra)


def _said(error: Exception) -> bytes:
    """An error in the middle of a stream, as OpenAI's clients raise it."""
    return json_frame({"error": refusal_of(error).error})
