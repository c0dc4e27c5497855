"""Batches: OpenAI's endpoints, and ours: pause, resume, retry, results, report."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from models import Batch
from worker.access import Principal, Scope
from worker.batch.collecting import lines
from worker.batch.document import batch_object
from worker.batch.report.gathering import gather
from worker.batch.report.page import page as report_page
from worker.batch.request import max_cost_of, max_failed_ratio_of
from worker.errors import InvalidRequest, Unknown
from worker.gateway.answers import json_answer
from worker.gateway.body import gateway_of, object_of, principal_of
from worker.gateway.gateway import Gateway
from worker.gateway.listing import limit_of, page_of
from worker.gateway.stream import Stream
from worker.request import named, shown
from worker.store import Recent

JSON_LINES = "application/jsonl"
KINDS = ("output", "errors")


async def create(request: Request) -> Response:
    """`POST /v1/batches`: accepted; what is wrong with its file is told later, by its status."""
    principal = await principal_of(request, Scope.WRITE)
    batches, document = gateway_of(request).client.batches, await object_of(request)
    made = batches.create(document, tenant=principal.tenant, allowed_models=principal.models)
    return _json(await made)


async def show(request: Request) -> Response:
    """`GET /v1/batches/{id}`: the batch, its counts up to now."""
    return await _live(gateway_of(request), await _own(request, Scope.READ))


async def listing(request: Request) -> Response:
    """`GET /v1/batches?after=&limit=`: newest first."""
    principal = await principal_of(request, Scope.READ)
    client, query = gateway_of(request).client, request.query_params
    limit, after = limit_of(query.get("limit")), query.get("after")
    place = await client.store.batches.get(after, principal.tenant) if after else None
    found = await client.store.batches.page(principal.tenant, limit + 1, place)
    data = [batch_object(each, await client.batches.recent(each)) for each in found[:limit]]
    return json_answer(page_of(data, has_more=len(found) > limit))


async def cancelling(request: Request) -> Response:
    """`POST /v1/batches/{id}/cancel`: what has not ended is cancelled."""
    batch = await _own(request, Scope.WRITE)
    return await _live(gateway := gateway_of(request), await gateway.client.batches.cancel(batch))


async def pausing(request: Request) -> Response:
    """`POST /v1/batches/{id}/pause`: rows that run go on, no others begin."""
    batch = await _own(request, Scope.WRITE)
    return await _live(gateway := gateway_of(request), await gateway.client.batches.pause(batch))


async def resuming(request: Request) -> Response:
    """`POST /v1/batches/{id}/resume`: it goes on, with other limits where they are given."""
    batch, given = await _own(request, Scope.WRITE), await _given(request)
    _check_names(given, ("max_cost", "max_failed_ratio"))
    limits = max_cost_of(given), max_failed_ratio_of(given)
    gateway = gateway_of(request)
    return await _live(gateway, await gateway.client.batches.resume(batch, *limits))


async def retry(request: Request) -> Response:
    """`POST /v1/batches/{id}/retry`: failed rows once more, in it or in a batch of their own."""
    principal = await principal_of(request, Scope.WRITE)
    batch, given = await _of(principal, request), await _given(request)
    _check_names(given, ("categories",))
    gateway, categories = gateway_of(request), given.get("categories")
    if categories is not None and not (isinstance(categories, list) and categories):
        raise InvalidRequest("categories", f"is {shown(categories)}", "give a list of names")
    retried = gateway.client.batches.retry(batch, categories, allowed_models=principal.models)
    return await _live(gateway, await retried)


async def results(request: Request) -> Response:
    """`GET /v1/batches/{id}/results?kind=output|errors`: what there is by now, in input order."""
    batch, kind = await _own(request, Scope.READ), request.query_params.get("kind", "output")
    if kind not in KINDS:
        raise InvalidRequest("kind", f"is {kind[:40]!r}", f"use {' or '.join(KINDS)}")
    client = gateway_of(request).client
    found = lines(client.store, batch, output=kind == "output")
    head = b"content-type", JSON_LINES.encode()
    return Stream(found, slow_s=client.settings.slow_reader_s, kind=head)


async def report(request: Request) -> Response:
    """`GET /v1/batches/{id}/report`: one page for people."""
    batch = await _own(request, Scope.READ)
    figures = await gather(gateway_of(request).client.store, batch)
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return HTMLResponse(report_page(figures), headers={"content-security-policy": policy})


async def _own(request: Request, scope: Scope) -> Batch:
    """The batch that the path names, if it is the asking tenant's."""
    return await _of(await principal_of(request, scope), request)


async def _of(principal: Principal, request: Request) -> Batch:
    batches = gateway_of(request).client.store.batches
    return await batches.get(request.path_params["id"], principal.tenant)


async def _given(request: Request) -> dict[str, object]:
    """The body, which may be missing."""
    return await object_of(request) if request.headers.get("content-type") else {}


def _check_names(given: dict[str, object], known: Sequence[str]) -> None:
    for name in given:
        if name not in known:
            raise Unknown(named(name), "is no parameter of this", f"use {' or '.join(known)}")


async def _live(gateway: Gateway, batch: Batch) -> Response:
    return _json(batch, await gateway.client.batches.recent(batch))


def _json(batch: Batch, recent: Recent | None = None) -> Response:
    return json_answer(batch_object(batch, recent))
