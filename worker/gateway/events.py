"""A job's events as server-sent events, or those of several jobs on one connection."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import compress

from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response

from models import Job, JobState
from worker.access import Scope
from worker.channel.events import START, ChannelEvent, Cursor, End
from worker.channel.follow import reached
from worker.channel.replay import end_cursor
from worker.errors import InvalidCursor, InvalidRequest
from worker.gateway.answers import JOB
from worker.gateway.body import gateway_of, principal_of
from worker.gateway.gateway import Gateway
from worker.gateway.refusals import refusal_of
from worker.gateway.relay import Reader, frame_of
from worker.gateway.sse import HEARTBEAT, HINT, json_frame
from worker.gateway.stream import Stream

# Each event of a stream of several jobs carries the places in all of them.
MOST_JOBS = 50


async def events(request: Request) -> Response:
    """`GET /v1/jobs/{id}/events`: from `Last-Event-ID`, or `?after=`, to the job's end."""
    gateway, id = gateway_of(request), request.path_params["id"]
    job = await _readable(request, id)
    given = request.headers.get("last-event-id") or request.query_params.get("after")
    after = Cursor.parse(given) if given else START
    if await is_over(gateway, job, after):
        return Response(status_code=204)
    slow_s = gateway.client.settings.slow_reader_s
    return Stream(_frames(gateway, id, after), {JOB: id}, slow_s=slow_s)


async def events_of_many(request: Request) -> Response:
    """`GET /v1/events?jobs=a,b&after=a:1-57`: all their events on one connection."""
    gateway = gateway_of(request)
    principal = await principal_of(request, Scope.READ)
    places = _places(request)

    async def has_more(id: str, after: Cursor) -> bool:
        job = await gateway.client.inquiry.job(id, principal.tenant)
        return not await is_over(gateway, job, after)

    more = await asyncio.gather(*(has_more(id, after) for id, after in places.items()))
    if not any(more):
        return Response(status_code=204)
    frames = _merged_frames(gateway, places, list(compress(places, more)))
    return Stream(frames, slow_s=gateway.client.settings.slow_reader_s)


async def _readable(request: Request, id: str) -> Job:
    """The job, if who asks may read it: by a key, or by a token for this very job."""
    gateway = gateway_of(request)
    token = request.query_params.get("token")
    tenant = None
    if token is None or not gateway.tokens.opens(token, id):
        tenant = (await principal_of(request, Scope.READ)).tenant
    return await gateway.client.inquiry.job(id, tenant)


async def is_over(gateway: Gateway, job: Job, after: Cursor) -> bool:
    """Whether a reader at the cursor has heard everything.

    Raises:
        InvalidCursor: no reader of this job can have it.
    """
    newest: Cursor | None = None
    if JobState(job.state).terminal:
        newest = end = end_cursor(job)
        if after == end or (job.erased_at is not None and after > end):
            return True
    elif after <= Cursor(job.attempt, 0):
        return False
    else:
        if after.attempt == job.attempt:
            with suppress(RedisError, OSError):  # without it there is no text to be beyond
                newest = await reached(gateway.client.log, job.id, after)
        if newest is None or newest < after:  # the row may have moved on meanwhile
            row = await gateway.client.inquiry.job(job.id)
            if row.state != job.state or row.attempt != job.attempt:
                return await is_over(gateway, row, after)
        if after.attempt > job.attempt:
            newest = Cursor(job.attempt, 0)
    if newest is not None and after > newest:
        raise InvalidCursor(f"cursor: {after} lies beyond {newest}; start over")
    return False


async def _frames(gateway: Gateway, id: str, after: Cursor) -> AsyncIterator[bytes]:
    yield HINT
    async with gateway.relays.reader(id, after) as reader:
        try:
            while not reader.ended:
                fresh = await reader.more()
                yield b"".join(map(reader.frame, fresh)) if fresh else HEARTBEAT
        except Exception as error:  # whatever it is, it is said before the connection is closed
            yield _complaint(error)


async def _merged_frames(
    gateway: Gateway, places: dict[str, Cursor], going_on: Sequence[str]
) -> AsyncIterator[bytes]:
    """The events of those that go on; with each, the places in all of them."""
    yield HINT
    arrived: asyncio.Queue[tuple[str, Sequence[ChannelEvent] | Exception]] = asyncio.Queue(1)
    async with AsyncExitStack() as stack:
        for id in going_on:
            reader = await stack.enter_async_context(gateway.relays.reader(id, places[id]))
            stack.callback(asyncio.create_task(_read(id, reader, arrived)).cancel)
        remaining = len(going_on)
        while remaining:
            id, fresh = await arrived.get()
            if isinstance(fresh, Exception):
                yield _complaint(fresh)
                return
            if not fresh:
                yield HEARTBEAT
            for event in fresh:
                places[id] = event.cursor
                remaining -= isinstance(event, End)
                all_places = ",".join(f"{job}:{cursor}" for job, cursor in places.items())
                yield frame_of(all_places, event)


async def _read(
    id: str, reader: Reader, into: asyncio.Queue[tuple[str, Sequence[ChannelEvent] | Exception]]
) -> None:
    try:
        while not reader.ended:
            await into.put((id, await reader.more()))
    except Exception as error:  # told to the reader of them all
        await into.put((id, error))


def _complaint(error: Exception) -> bytes:
    """What is said before the connection is closed; the reader's last cursor resumes."""
    return json_frame({"error": refusal_of(error).error}, "error")


def _places(request: Request) -> dict[str, Cursor]:
    named = [id for id in request.query_params.get("jobs", "").split(",") if id]
    given = request.headers.get("last-event-id") or request.query_params.get("after", "")
    places: dict[str, Cursor] = dict.fromkeys(named, START)
    for place in filter(None, given.split(",")):
        id, _, cursor = place.partition(":")
        places[id] = Cursor.parse(cursor)
    if not 0 < len(places) <= MOST_JOBS:
        raise InvalidRequest(
            "jobs", f"names {len(places)} jobs", f"name 1 to {MOST_JOBS}, separated by commas"
        )
    return places
