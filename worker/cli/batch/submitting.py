"""`batch submit`: a file becomes a batch."""

import asyncio
import io
import sys
from concurrent.futures import Future
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from models import Batch, File
from worker import endpoints, settings
from worker.batch.document import batch_object
from worker.batch.lines import Lines
from worker.batch.request import batch_of
from worker.batch.submission import INPUT
from worker.catalog import Catalog
from worker.cli.batch.finding import RUNS_WHILE
from worker.cli.batch.prompts import Form, plain_form, template_of
from worker.cli.batch.source import Counted, Head, convert, copy, head_of, opened, prompt_of
from worker.cli.batch.views import view
from worker.cli.batch.watching import Watch
from worker.cli.batch.wish import Wish, batch_request, has_prompts
from worker.cli.default_model import default_model
from worker.cli.document import STDIN, parameter
from worker.cli.embedded import joining_worker
from worker.cli.exits import ExitCode
from worker.cli.screen import print_json
from worker.cli.streaming import SIMULATED
from worker.engines import Membership
from worker.errors import InvalidRequest, StoreAway
from worker.files import Storage, in_thread, new_file_id, storage_of
from worker.logs import log_as_command
from worker.request import WebhookTerms
from worker.runtime import Client, open_client_runtime
from worker.settings import Settings
from worker.submission import TENANT
from worker.text import repair

MOST_FILENAME = 255


class _Ready(msgspec.Struct, frozen=True):
    """A file whose content is stored, and the batch that is asked for."""

    file: File
    request: dict[str, object]


def submit(wish: Wish, *, watch: bool, json: bool) -> int:
    """Store the file, create the batch, print its id or object; watch it; the exit code.

    Raises:
        DeltaworksError: it could not be created; nothing stays stored.
    """
    log_as_command()
    chosen = settings.load()
    catalog, storage = endpoints.known_upstreams(), storage_of(chosen)
    # A worker takes as long to start as everything else here: both at once.
    joining = joining_worker(chosen) if watch and chosen.embedded_redis else None
    # Without a loop: Ctrl-C has to get at a read of standard input that waits.
    ready = _store(wish, chosen, catalog, storage)
    if catalog.simulated:
        sys.stderr.write(f"{SIMULATED}\n")
    return asyncio.run(_submit(ready, storage, joining, watch=watch, json=json))


async def _submit(
    ready: _Ready,
    storage: Storage,
    joining: "Future[Membership] | None",
    *,
    watch: bool,
    json: bool,
) -> int:
    async with AsyncExitStack() as undoing:
        undoing.push_async_callback(in_thread, storage.remove, ready.file.id)
        async with open_client_runtime() as client:
            if joining is not None:
                # Before the batch is there: a worker with other settings would run it in its way.
                await asyncio.wrap_future(joining)
            batch = await _create(client, ready, undoing)
            if not watch:
                _tell(batch, client.settings, json)
                return ExitCode.COMPLETED
            if not json:
                sys.stdout.write(f"{batch.id}\n")
                sys.stdout.flush()
            return await Watch(client, batch, view(json), embedded=joining is not None).run()


async def _create(client: Client, ready: _Ready, undoing: AsyncExitStack) -> Batch:
    """The batch. From then on the content stays, and where nobody knows if it was created."""
    file = await client.store.files.add(ready.file)
    try:
        batch = await client.batches.create(ready.request, tenant=TENANT)
    except StoreAway as away:
        if away.unsure:
            undoing.pop_all()
        raise
    except BaseException:
        await client.store.files.remove(file.id)
        raise
    undoing.pop_all()
    return batch


def _store(wish: Wish, chosen: Settings, catalog: Catalog, storage: Storage) -> _Ready:
    """Store the rows, once the options are known to be valid."""
    with opened(wish.file) as source:
        head = head_of(source)
        prompts = has_prompts(wish, head)
        file = _file(wish, chosen)
        request = batch_request(wish, head, file.id, prompts=prompts)
        batch = batch_of(request, file, TENANT, WebhookTerms.of(chosen))
        form = _form(wish, batch, chosen, catalog) if prompts else None
        if form is not None:
            _check_row(form, head, batch, chosen, catalog)
        with storage.writing(file.id) as content:
            into = Counted(content, chosen.max_file_bytes)
            if form is None:
                copy(head, source, into)
            else:
                convert(head, source, form, into, chosen.max_request_bytes)
        file.bytes = into.bytes
        return _Ready(file, request)


def _file(wish: Wish, chosen: Settings) -> File:
    name = "stdin" if wish.file == STDIN else wish.file.name
    now = datetime.now(UTC)
    return File(
        id=new_file_id(),
        tenant=TENANT,
        purpose=INPUT,
        filename=repair(name)[:MOST_FILENAME],
        bytes=0,
        created_at=now,
        expires_at=now + timedelta(seconds=chosen.file_life_s),
    )


def _form(wish: Wish, batch: Batch, chosen: Settings, catalog: Catalog) -> Form:
    if wish.template is None:
        model = wish.model or asyncio.run(default_model(catalog, chosen))
        params = dict(parameter(given) for given in wish.params)
        return plain_form(batch.endpoint, model, wish.system, params)
    for option, given in {"--system": wish.system, "--param": wish.params}.items():
        if given:
            raise InvalidRequest(option, "is given beside --template", "write it into the template")
    body = template_of(_template(wish.template))
    if wish.model is not None or "model" not in body:
        body["model"] = wish.model or asyncio.run(default_model(catalog, chosen))
    return Form(body, batch.endpoint)


def _template(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = f"{path} cannot be read ({error.strerror})"
        raise InvalidRequest("--template", problem, "name a file") from None


def _check_row(form: Form, head: Head, batch: Batch, chosen: Settings, catalog: Catalog) -> None:
    """Refuse what every row would be refused for: the options are at fault then."""
    most = chosen.max_request_bytes
    row = form.line(1, prompt_of(head.blank + 1, head.line, most))
    lines = Lines(io.BytesIO(row), batch, catalog, max_bytes=most, max_rows=1)
    lines.portion()
    for fault in lines.faults:
        field = fault.param or "FILE"
        problem = fault.message.removeprefix(f"{field}: ")
        raise InvalidRequest(field, f"in the first row: {problem}", "nothing was submitted")


def _tell(batch: Batch, chosen: Settings, json: bool) -> None:
    if json:
        print_json(batch_object(batch))
    else:
        sys.stdout.write(f"{batch.id}\n")
    if chosen.embedded_redis:
        sys.stderr.write(f"{RUNS_WHILE}\n")
