"""The native API: jobs submitted, looked up, listed, cancelled, tried again, erased."""

import asyncio
import re
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response

from models import Job, JobState, Lane
from worker.access import Principal, Scope
from worker.cancellation import cancel
from worker.erasure import erase
from worker.errors import Conflict, DeltaworksError, InvalidRequest
from worker.gateway.answers import JOB, json_answer
from worker.gateway.body import gateway_of, object_of, principal_of
from worker.gateway.gateway import Gateway
from worker.gateway.listing import limit_of
from worker.gateway.refusals import refusal_of
from worker.job_object import job_object, live_job_object
from worker.request import shown
from worker.store import Listing

# How many jobs one call may submit.
MOST_SUBMITTED = 1_000
# How many of one call are submitted at a time.
AT_ONCE = 8
# How long a read token lives at most, and where nothing else is said; seconds.
MOST_TOKEN_S, TOKEN_S = 86_400, 300
METADATA = re.compile(r"metadata\[(.*)\]", re.DOTALL)


async def submit(request: Request) -> Response:
    """`POST /v1/jobs`: one job request, or `{"jobs": [...]}`."""
    principal = await principal_of(request, Scope.WRITE)
    gateway, document = gateway_of(request), await object_of(request)
    key = request.headers.get("idempotency-key")
    if "jobs" in document:
        return await _submit_many(gateway, principal, document, key)
    if key is not None:
        document = {"idempotency_key": key, **document}
    job = await _submit(gateway, principal, document)
    return json_answer(job_object(job), 201, {JOB: job.id})


async def _submit_many(
    gateway: Gateway, principal: Principal, document: Mapping[str, object], key: str | None
) -> Response:
    jobs = document["jobs"]
    if not isinstance(jobs, list) or not 0 < len(jobs) <= MOST_SUBMITTED:
        raise InvalidRequest("jobs", f"is {shown(jobs)}", f"give a list of 1 to {MOST_SUBMITTED:,}")
    if len(document) > 1:
        other = next(name for name in document if name != "jobs")
        raise InvalidRequest(other[:40], "stands beside jobs", "put it into each of them")
    if key is not None:
        raise InvalidRequest(
            "idempotency-key", "cannot be that of several jobs", "give each an idempotency_key"
        )
    some = asyncio.Semaphore(AT_ONCE)

    async def one(each: object) -> dict[str, object]:
        async with some:
            try:
                return job_object(await _submit(gateway, principal, each))
            except DeltaworksError as error:
                return {"object": "error", "error": refusal_of(error).error}

    data = await asyncio.gather(*map(one, jobs))
    return json_answer({"object": "list", "data": data})


async def _submit(gateway: Gateway, principal: Principal, document: object) -> Job:
    if isinstance(document, dict) and isinstance(document.get("request"), dict):
        principal.require_model(document["request"].get("model"))
    return await gateway.client.submission.submit(document, tenant=principal.tenant)


async def show(request: Request) -> Response:
    """`GET /v1/jobs/{id}`: the job object, with the text so far while it runs."""
    gateway, job = gateway_of(request), await _own(request, Scope.READ)
    return json_answer(await live_job_object(job, gateway.client.log))


async def listing(request: Request) -> Response:
    """`GET /v1/jobs?state=&lane=&metadata[name]=&after=&limit=`: newest first."""
    principal = await principal_of(request, Scope.READ)
    jobs, query = gateway_of(request).client.store.jobs, request.query_params
    limit = limit_of(query.get("limit"))
    after = query.get("after")
    wanted = Listing(
        tenant=principal.tenant,
        states=_states(query.getlist("state")),
        lane=_lane(query.get("lane")),
        metadata=_metadata(query.multi_items()),
        after=await jobs.get(after, principal.tenant) if after else None,
    )
    found = await jobs.page(wanted, limit + 1)
    data = [job_object(job) for job in found[:limit]]
    return json_answer({"object": "list", "data": data, "has_more": len(found) > limit})


async def cancelling(request: Request) -> Response:
    """`POST /v1/jobs/{id}/cancel`: the job object says whether it came in time."""
    client, job = gateway_of(request).client, await _own(request, Scope.WRITE)
    job, _ = await cancel(job.id, client.store.jobs, client.log, client.settings, client.catalog)
    return json_answer(job_object(job))


async def erasing(request: Request) -> Response:
    """`DELETE /v1/jobs/{id}`: request and output are removed; the job has ended."""
    client, job = gateway_of(request).client, await _own(request, Scope.WRITE)
    await erase(job, client.store.jobs, client.log)
    return json_answer({"id": job.id, "object": "job", "deleted": True})


async def retry(request: Request) -> Response:
    """`POST /v1/jobs/{id}/retry`: a new job with the request of one that has ended."""
    principal = await principal_of(request, Scope.WRITE)
    gateway, job = gateway_of(request), await _of(principal, request)
    if not JobState(job.state).terminal:
        raise Conflict(f"job {job.id}: is {job.state}; wait for its end, or cancel it")
    if job.erased_at is not None or not job.request:
        raise Conflict(f"job {job.id}: has no request any more; submit it anew")
    principal.require_model(job.model)
    document = {
        "request": job.request,
        "lane": job.lane,
        "metadata": job.labels,
        "webhook": job.webhook_url,
    }
    given = {name: value for name, value in document.items() if value is not None}
    if (key := request.headers.get("idempotency-key")) is not None:
        given["idempotency_key"] = key
    again = await gateway.client.submission.submit(given, tenant=job.tenant, retry_of=job.id)
    return json_answer(job_object(again), 201, {JOB: again.id})


async def token(request: Request) -> Response:
    """`POST /v1/jobs/{id}/token`: a token that opens the job's events, for a while."""
    gateway, job = gateway_of(request), await _own(request, Scope.READ)
    document = await object_of(request) if request.headers.get("content-type") else {}
    life_s = document.get("expires_in_s", TOKEN_S)
    if type(life_s) not in (int, float) or not 1 <= float(str(life_s)) <= MOST_TOKEN_S:
        raise InvalidRequest("expires_in_s", f"is {shown(life_s)}", f"give 1 to {MOST_TOKEN_S}")
    signed, expires = gateway.tokens.sign(job.id, float(str(life_s)))
    url = f"/v1/jobs/{job.id}/events?token={signed}"
    return json_answer({"object": "token", "token": signed, "expires_at": expires, "url": url})


async def _own(request: Request, scope: Scope) -> Job:
    """The job that the path names, if it is the asking tenant's."""
    return await _of(await principal_of(request, scope), request)


async def _of(principal: Principal, request: Request) -> Job:
    jobs = gateway_of(request).client.store.jobs
    return await jobs.get(request.path_params["id"], principal.tenant)


def _states(given: Sequence[str]) -> tuple[str, ...]:
    states = tuple(state for word in given for state in word.split(",") if state)
    for state in states:
        if state not in set(JobState):
            raise InvalidRequest("state", f"is {state[:40]!r}", f"use {', '.join(JobState)}")
    return states


def _lane(given: str | None) -> str | None:
    if given is not None and given not in set(Lane):
        raise InvalidRequest("lane", f"is {given[:40]!r}", f"use {' or '.join(Lane)}")
    return given


def _metadata(items: Sequence[tuple[str, str]]) -> dict[str, str]:
    found = ((METADATA.fullmatch(name), value) for name, value in items)
    return {match[1]: value for match, value in found if match}
