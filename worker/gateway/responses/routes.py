"""The endpoints of the Responses API."""

from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response

from models import ANSWERED, Job, JobState
from worker.access import Principal, Scope
from worker.cancellation import cancel
from worker.channel.events import ChannelEvent, End
from worker.erasure import erase
from worker.errors import InvalidCursor, InvalidRequest, JobNotFound
from worker.gateway.abandonment import is_continued
from worker.gateway.answers import JOB, json_answer
from worker.gateway.body import gateway_of, object_of, principal_of
from worker.gateway.events import is_over
from worker.gateway.failures import refusal_for
from worker.gateway.gateway import Gateway
from worker.gateway.queueing import queued
from worker.gateway.refusals import Refusal, refusal_of
from worker.gateway.responses.events import Events
from worker.gateway.responses.inputs import page_of_inputs
from worker.gateway.sse import HEARTBEAT, json_frame
from worker.gateway.stream import Awaited, Stream
from worker.openai.responses.document import beginning, output, response
from worker.openai.responses.items import Event
from worker.openai.responses.messages import Message, add_item
from worker.openai.responses.numbers import job_id, place, response_id
from worker.openai.responses.translation import Wish, continued, conversation, translated

# Above any sequence number there can be: JavaScript's numbers are exact up to it.
MOST_NUMBER = 1 << 53
MOST_DIGITS = len(str(MOST_NUMBER))


async def create(request: Request) -> Response:
    """`POST /v1/responses`: queue it, and answer at once, at the end, or by a stream."""
    principal = await principal_of(request, Scope.WRITE)
    gateway, given = gateway_of(request), await object_of(request)
    principal.require_model(given.get("model"))
    wish = translated(given)
    goes_on = wish.background or is_continued(request.headers)
    key = request.headers.get("idempotency-key")
    document = await _job_request(gateway, principal, wish, key)
    job = await queued(gateway, principal, document, wish.fields)
    if wish.stream:
        return _stream(gateway, job, -1, goes_on=goes_on)
    if wish.background:
        return _json(response(job), job)
    return Awaited(_answer(gateway, job, goes_on=goes_on), {JOB: job.id})


async def show(request: Request) -> Response:
    """`GET /v1/responses/{id}?stream=&starting_after=`: as it stands, or its stream."""
    gateway, job = gateway_of(request), await _own(request, Scope.READ)
    query = request.query_params
    stream, after = query.get("stream", "false"), query.get("starting_after")
    if stream not in ("true", "false"):
        raise InvalidRequest("stream", f"is {stream[:40]!r}", "give true or false")
    if stream == "false":
        if after is not None:
            raise InvalidRequest("starting_after", "needs a stream", "add stream=true")
        return _json(response(job), job)
    # A response goes on whoever has come to look at it, and leaves.
    return _stream(gateway, job, await _place(gateway, job, after), goes_on=True)


async def cancelling(request: Request) -> Response:
    """`POST /v1/responses/{id}/cancel`: the response says whether it came in time."""
    client, job = gateway_of(request).client, await _own(request, Scope.WRITE)
    if not (job.response_fields or {}).get("background"):
        message = "only a response that was created with background=true can be cancelled"
        raise Refusal(400, f"background: {message}; end its connection", headers={JOB: job.id})
    job, _ = await cancel(job.id, client.store.jobs, client.log, client.settings, client.catalog)
    return _json(response(job), job)


async def erasing(request: Request) -> Response:
    """`DELETE /v1/responses/{id}`: what it was asked and what it said are removed."""
    client, job = gateway_of(request).client, await _own(request, Scope.WRITE)
    await erase(job, client.store.jobs, client.log)
    return _json({"id": response_id(job.id), "object": "response", "deleted": True}, job)


async def inputs(request: Request) -> Response:
    """`GET /v1/responses/{id}/input_items?after=&limit=&order=`: what it was asked."""
    job = await _own(request, Scope.READ)
    return _json(page_of_inputs(job, request.query_params), job)


async def _job_request(
    gateway: Gateway, principal: Principal, wish: Wish, key: str | None
) -> dict[str, object]:
    body = wish.body
    if wish.previous is not None:
        earlier = await _earlier(gateway, principal, wish.previous)
        body = continued(body, wish.fields, earlier)
    document = {"request": body, "metadata": wish.metadata, "idempotency_key": key}
    return {name: value for name, value in document.items() if value is not None}


async def _earlier(gateway: Gateway, principal: Principal, id: str) -> list[Message]:
    """All that was said up to the end of a response, which is to be continued.

    Raises:
        Refusal: there is no such response, or it has not ended well.
    """
    try:
        job = await _kept(gateway, id, principal)
    except JobNotFound:
        message = f"Previous response with id '{id[:80]}' not found."
        code, param = "previous_response_not_found", "previous_response_id"
        raise Refusal(400, message, code=code, param=param) from None
    if job.state not in ANSWERED:
        raise InvalidRequest("previous_response_id", f"is {job.state}", "continue one that ended")
    messages = conversation(job.request, job.response_fields or {})
    for index, item in enumerate(output(job)):
        add_item(messages, item, f"previous_response_id.output[{index}]")
    return messages


async def _own(request: Request, scope: Scope) -> Job:
    """The response that the path names, if it is the asking tenant's."""
    principal = await principal_of(request, scope)
    return await _kept(gateway_of(request), request.path_params["id"], principal)


async def _kept(gateway: Gateway, id: str, principal: Principal) -> Job:
    """The tenant's response, unless it was erased, or was not to be stored.

    Raises:
        JobNotFound: there is none.
    """
    absent = JobNotFound(f"no response has the id {id[:80]!r}")
    try:
        job = await gateway.client.store.jobs.get(job_id(id), principal.tenant)
    except JobNotFound:
        raise absent from None
    if job.response_fields is None or job.response_fields.get("store") is False:
        raise absent
    return job


async def _place(gateway: Gateway, job: Job, given: str | None) -> int:
    """The number after which a stream is to go on.

    Raises:
        InvalidRequest: it is none that this response can have sent.
    """
    if given is None:
        return -1
    # Shortened, since a number of thousands of digits is none to Python.
    if not given.isdecimal() or len(given) > MOST_DIGITS or int(given) >= MOST_NUMBER:
        raise InvalidRequest("starting_after", f"is {given[:40]!r}", "give a sequence_number")
    try:
        await is_over(gateway, job, place(int(given)))
    except InvalidCursor:
        problem = f"is {given}, which this response has not reached"
        raise InvalidRequest("starting_after", problem, "give one it has sent") from None
    return int(given)


async def _answer(gateway: Gateway, job: Job, *, goes_on: bool) -> Response:
    """The response, when it has ended.

    Raises:
        Refusal: it failed; as OpenAI's clients expect it of a call that waits.
    """
    with gateway.abandonment.watching(job.id, continued=goes_on):
        async with gateway.relays.reader(job.id) as reader:
            while not reader.ended:
                await reader.more()
        row = await gateway.client.store.jobs.get(job.id)
    if row.state == JobState.FAILED:
        raise refusal_for(row)
    return _json(response(row), row)


def _stream(gateway: Gateway, job: Job, after: int, *, goes_on: bool) -> Stream:
    frames = _frames(gateway, job, after, goes_on=goes_on)
    return Stream(frames, {JOB: job.id}, slow_s=gateway.client.settings.slow_reader_s)


async def _frames(gateway: Gateway, job: Job, after: int, *, goes_on: bool) -> AsyncIterator[bytes]:
    logprobs = job.request.get("logprobs") is True
    events = Events(job.id, beginning(job), after, logprobs=logprobs)
    last = after
    with gateway.abandonment.watching(job.id, continued=goes_on):
        try:
            yield b"".join(map(_frame, events.begin()))
            async with gateway.relays.reader(job.id) as reader:
                while not reader.ended:
                    fresh = await reader.more()
                    told = [each for event in fresh for each in await _told(gateway, events, event)]
                    last = int(str(told[-1]["sequence_number"])) if told else last
                    yield b"".join(map(_frame, told)) if fresh else HEARTBEAT
        except Exception as error:  # whatever it is, it is said before the connection is closed
            yield _complaint(error, last + 1)


async def _told(gateway: Gateway, events: Events, event: ChannelEvent) -> list[Event]:
    """What one event means to the reader; the database helps where the log has forgotten."""
    jobs = gateway.client.store.jobs
    told: list[Event] = []
    if events.lacks(event):
        told = events.recall(await jobs.attempts(event.job), event)
    if isinstance(event, End):
        return told + events.end(event, response(await jobs.get(event.job)))
    return told + events.take(event)


def _complaint(error: Exception, number: int) -> bytes:
    said = refusal_of(error).error
    known = {name: said[name] for name in ("code", "message", "param")}
    return _frame({"type": "error", "sequence_number": number, **known})


def _frame(event: Event) -> bytes:
    return json_frame(event, str(event["type"]))


def _json(document: Mapping[str, object], job: Job) -> Response:
    return json_answer(document, 200, {JOB: job.id})
