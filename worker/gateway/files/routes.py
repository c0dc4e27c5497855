"""OpenAI's files API, to its letter; the contents are in `worker.files`."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from models import File
from worker.access import Principal, Scope
from worker.errors import DeltaworksError, StoreAway
from worker.files import draft, in_thread, new_file_id, pieces
from worker.gateway.answers import json_answer
from worker.gateway.body import announced, as_it_is, gateway_of, principal_of, too_large
from worker.gateway.files.form import FILE, FORM_BYTES, Form, Upload, boundary_of
from worker.gateway.files.incoming import Incoming, LastWord
from worker.gateway.gateway import Gateway
from worker.gateway.listing import limit_of, order_of, page_of
from worker.gateway.refusals import Refusal, refusal_of
from worker.gateway.stream import Stream

# How many files a page may show, and does where nothing else is said.
MOST_FILES = 10_000
BYTES = (b"content-type", b"application/octet-stream")


async def upload(request: Request) -> Response:
    """`POST /v1/files`: a form with the file and its purpose."""
    settings = gateway_of(request).client.settings
    body = Incoming(
        request.receive,
        most=settings.max_file_bytes + FORM_BYTES,
        early=settings.max_file_bytes,
        silence_s=settings.body_timeout_s,
    )
    try:
        file = await _uploaded(request, body)
    except (DeltaworksError, Refusal) as error:
        return LastWord(refusal_of(error).response(), body)
    return json_answer(file_object(file))


async def listing(request: Request) -> Response:
    """`GET /v1/files?after=&limit=&order=&purpose=`: newest first, unless told otherwise."""
    principal = await principal_of(request, Scope.READ)
    files, query = gateway_of(request).client.store.files, request.query_params
    limit = limit_of(query.get("limit"), MOST_FILES, MOST_FILES)
    order, after = order_of(query.get("order")), query.get("after")
    found = await files.page(
        principal.tenant,
        limit + 1,
        purpose=query.get("purpose"),
        after=await files.get(after, principal.tenant) if after else None,
        newest=order == "desc",
    )
    data = [file_object(file) for file in found[:limit]]
    return json_answer(page_of(data, has_more=len(found) > limit))


async def show(request: Request) -> Response:
    """`GET /v1/files/{id}`: the file object."""
    return json_answer(file_object(await _own(request, Scope.READ)))


async def content(request: Request) -> Response:
    """`GET /v1/files/{id}/content`: its bytes."""
    file, gateway = await _own(request, Scope.READ), gateway_of(request)
    # Before the head, so that a content that is gone or out of reach is a status.
    size = await in_thread(gateway.storage.size, file.id)
    frames = pieces(gateway.storage, file.id)
    headers = _headers(file, size)
    return Stream(frames, headers, slow_s=gateway.client.settings.slow_reader_s, kind=BYTES)


async def erasing(request: Request) -> Response:
    """`DELETE /v1/files/{id}`: the file and its content are removed."""
    file, gateway = await _own(request, Scope.WRITE), gateway_of(request)
    # The content first: should the row stay, the same again finishes it.
    await in_thread(gateway.storage.remove, file.id)
    await gateway.client.store.files.remove(file.id)
    return json_answer({"id": file.id, "object": "file", "deleted": True})


def file_object(file: File) -> dict[str, object]:
    """A file as OpenAI's clients read it."""
    shown: dict[str, object] = {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
    }
    if file.expires_at is not None:
        shown["expires_at"] = int(file.expires_at.timestamp())
    return shown


async def _uploaded(request: Request, body: Incoming) -> File:
    principal = await principal_of(request, Scope.WRITE)
    gateway = gateway_of(request)
    most = gateway.client.settings.max_file_bytes
    boundary = boundary_of(request.headers.get("content-type", ""))
    as_it_is(request)
    if announced(request) > most + FORM_BYTES:
        raise too_large(FILE, most)
    id, files, is_said = new_file_id(), gateway.client.store.files, False
    try:
        async with draft(gateway.storage, id) as file:
            form = Form(boundary, file, most)
            while piece := await body.piece():
                await in_thread(form.feed, piece)
            row = _row(gateway, principal, id, form.end())
            # Before the content is there: were it the other way round, one that died in between
            # would leave a content that nobody ever removes. The row has its time.
            is_said = True
            return await files.add(row)
    except BaseException:
        if is_said:
            with suppress(StoreAway):  # it may have come to be, unheard
                await files.remove(id)
        raise


def _row(gateway: Gateway, principal: Principal, id: str, sent: Upload) -> File:
    now = datetime.now(UTC)
    life_s = gateway.client.settings.file_life_s if sent.life_s is None else sent.life_s
    return File(
        id=id,
        tenant=principal.tenant,
        purpose=sent.purpose,
        filename=sent.filename,
        bytes=sent.bytes,
        created_at=now,
        expires_at=now + timedelta(seconds=life_s),
    )


async def _own(request: Request, scope: Scope) -> File:
    """The file that the path names, if it is the asking tenant's and its time is not over."""
    principal = await principal_of(request, scope)
    files, id = gateway_of(request).client.store.files, request.path_params["id"]
    return await files.living(id, principal.tenant)


def _headers(file: File, size: int) -> Mapping[str, str]:
    name = quote(file.filename, safe="")
    return {
        "content-length": str(size),
        # Whoever opens it in a browser gets a file, whatever somebody has put into it.
        "content-disposition": f"attachment; filename*=UTF-8''{name}",
        "x-content-type-options": "nosniff",
    }
