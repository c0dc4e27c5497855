"""Files over a real gateway: OpenAI's own client, forms that are not whole, and their limits."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import pytest
from openai import AsyncOpenAI, NotFoundError

from models import File
from tests.stack import Process, Reader, Stack, address_of
from tests.wire import until
from worker.files import new_file_id

pytestmark = pytest.mark.xdist_group("gateway files")

ROWS = b'{"custom_id":"1"}\n{"custom_id":"2"}\n'
MOST_BYTES = 300_000
BOUNDARY = "edge"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PURPOSE = ("purpose", None, b"batch")
FILE = ("file", "rows.jsonl", ROWS)
Part = tuple[str, str | None, bytes]


def form(*parts: Part, end: str = f"--{BOUNDARY}--\r\n") -> bytes:
    """The bytes of a form."""
    body = b""
    for name, filename, value in parts:
        named = "" if filename is None else f'; filename="{filename}"'
        head = f'--{BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"{named}\r\n\r\n'
        body += head.encode() + value + b"\r\n"
    return body + end.encode()


async def post(http: httpx.AsyncClient, *parts: Part) -> httpx.Response:
    return await http.post("/v1/files", content=form(*parts), headers={"content-type": FORM})


def refused(answer: httpx.Response, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    for word in words:
        assert word in answer.json()["error"]["message"]


@pytest.fixture
def contents(workless: Stack) -> Path:
    """Where the contents are, by the default."""
    return workless.folder / "home" / "files"


def there(contents: Path) -> set[str]:
    """What is in the storage, drafts included."""
    return {path.name for path in contents.iterdir()} if contents.exists() else set()


@pytest.fixture
def nothing_new(contents: Path) -> Iterator[None]:
    """A test that leaves the storage as it was."""
    before = there(contents)
    yield
    assert there(contents) == before


@pytest.fixture(scope="module")
def narrow(workless: Stack) -> Process:
    """A gateway that takes small files only, and does not wait for long."""
    return workless.gateway(
        DELTAWORKS_MAX_FILE_BYTES=str(MOST_BYTES), DELTAWORKS_BODY_TIMEOUT_S="1"
    )


@pytest.fixture
async def small(narrow: Process) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=address_of(narrow), timeout=60) as client:
        yield client


async def test_a_file_is_uploaded_shown_read_and_removed(
    openai: AsyncOpenAI, contents: Path
) -> None:
    file = await openai.files.create(file=("rows.jsonl", ROWS), purpose="batch")
    assert (file.object, file.filename, file.purpose) == ("file", "rows.jsonl", "batch")
    assert (file.bytes, file.status) == (len(ROWS), "processed")
    assert abs(file.created_at - datetime.now(UTC).timestamp()) < 60
    assert file.expires_at == file.created_at + 30 * 86_400
    assert await openai.files.retrieve(file.id) == file
    assert (await openai.files.content(file.id)).content == ROWS
    assert (contents / file.id).read_bytes() == ROWS
    deleted = await openai.files.delete(file.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (file.id, "file", True)
    assert file.id not in there(contents)
    for asked in (openai.files.retrieve, openai.files.content, openai.files.delete):
        with pytest.raises(NotFoundError):
            await asked(file.id)


async def test_a_file_lives_as_long_as_it_is_told(openai: AsyncOpenAI) -> None:
    file = await openai.files.create(
        file=ROWS, purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600


async def test_files_are_listed_in_pages_in_either_order(openai: AsyncOpenAI) -> None:
    async for old in openai.files.list():
        await openai.files.delete(old.id)
    made = [
        (await openai.files.create(file=(f"{n}.jsonl", ROWS), purpose="batch")).id for n in range(5)
    ]
    assert [file.id async for file in openai.files.list(limit=2)] == made[::-1]
    assert [file.id async for file in openai.files.list(limit=2, order="asc")] == made
    assert [file.id async for file in openai.files.list(purpose="batch", after=made[2])] == [
        made[1],
        made[0],
    ]
    assert not [file async for file in openai.files.list(purpose="batch_output")]
    page = await openai.files.list(limit=2)
    assert page.has_more


async def test_a_page_names_its_ends_and_refuses_what_it_does_not_know(
    http: httpx.AsyncClient,
) -> None:
    made = (await post(http, FILE, PURPOSE)).json()["id"]
    page = (await http.get("/v1/files", params={"limit": 10_000})).json()
    assert page["object"] == "list"
    assert (page["first_id"], page["last_id"]) == (made, page["data"][-1]["id"])
    empty = (await http.get("/v1/files", params={"purpose": "none"})).json()
    assert empty == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False,
    }  # fmt: skip
    refused(await http.get("/v1/files?limit=10001"), 400, "limit", "1 to 10000")
    refused(await http.get("/v1/files?order=up"), 400, "order", "asc or desc")
    refused(await http.get("/v1/files?after=file-0"), 404, "file-0")


async def test_a_content_comes_as_it_is_and_its_head_tells_its_size(
    http: httpx.AsyncClient,
) -> None:
    content = bytes(range(256)) * 4_000 + b"\r\n--edge-\r\n--edg"
    made = (await post(http, ("file", "../ünt.jsonl", content), PURPOSE)).json()
    assert (made["filename"], made["bytes"]) == ("ünt.jsonl", len(content))
    path = f"/v1/files/{made['id']}/content"
    for answer in (await http.get(path), await http.head(path)):
        assert answer.status_code == 200
        assert answer.headers["content-length"] == str(len(content))
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].endswith("''%C3%BCnt.jsonl")
        assert answer.content == (content if answer.request.method == "GET" else b"")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("C:\\rows\\a.jsonl", "a.jsonl"),
        ("/etc/passwd", "passwd"),
        ("x" * 300, "x" * 255),
        ("a\x00b", "a\ufffdb"),
        ("..", ".."),
    ],
)
async def test_a_filename_is_the_last_part_of_a_path(
    http: httpx.AsyncClient, given: str, kept: str
) -> None:
    assert (await post(http, ("file", given, b""), PURPOSE)).json()["filename"] == kept


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([FILE], ["purpose: is missing"]),
        ([PURPOSE], ["file: is missing"]),
        ([], ["file: is missing"]),
        ([FILE, ("purpose", None, b"vision")], ["purpose: is 'vision'", "use batch"]),
        ([("file", None, ROWS), PURPOSE], ["file: has no filename"]),
        ([("file", "a/", ROWS), PURPOSE], ["file: has no filename"]),
        ([FILE, FILE, PURPOSE], ["file: is there twice"]),
        ([PURPOSE, PURPOSE, FILE], ["purpose: is there twice"]),
        ([PURPOSE, FILE, ("colour", None, b"red")], ["colour: is no field"]),
        ([PURPOSE, FILE, ("", None, b"red")], ["no name"]),
        ([("purpose", None, b"b" * 300), FILE], ["purpose: has more than 256 bytes"]),
        ([PURPOSE, ("expires_after[seconds]", None, b"3600"), FILE], ["[anchor]: is missing"]),
        ([PURPOSE, ("expires_after[anchor]", None, b"created_at"), FILE], ["[seconds]: is miss"]),
        ([PURPOSE, ("expires_after[anchor]", None, b"now"), FILE], ["[anchor]: is 'now'"]),
        ([PURPOSE, ("expires_after[seconds]", None, b"3599"), FILE], ["3600 to 2592000"]),
        ([PURPOSE, ("expires_after[seconds]", None, b"2592001"), FILE], ["3600 to 2592000"]),
        ([PURPOSE, ("expires_after[seconds]", None, "²".encode()), FILE], ["3600 to 2592000"]),
    ],
)
async def test_a_form_with_a_field_at_fault_is_refused_by_its_name(
    http: httpx.AsyncClient, parts: list[Part], words: list[str]
) -> None:
    refused(await post(http, *parts), 400, *words)


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize(
    ("content", "type", "status", "word"),
    [
        (b"", FORM, 400, "last boundary"),
        (b"nothing of a form", FORM, 400, "boundary"),
        (form(PURPOSE, FILE, end=""), FORM, 400, "last boundary"),
        (form(PURPOSE, FILE)[:-20], FORM, 400, "last boundary"),
        (form(PURPOSE, FILE).replace(b"content-disposition", b"content disposition"), FORM, 400,
         "head"),
        (form(PURPOSE, FILE).replace(b"form-data", b"attachment"), FORM, 400, "no name"),
        (b"--edge\r\nx: " + b"y" * 9_000, FORM, 400, "head"),
        (b"--edge\r\n" + b"x: y\r\n" * 20, FORM, 400, "head"),
        (form(PURPOSE, FILE), "multipart/form-data", 400, "no boundary"),
        (form(PURPOSE, FILE), "multipart/form-data; boundary=" + "x" * 999, 400, "boundary"),
        (json.dumps({"purpose": "batch"}).encode(), "application/json", 415, "multipart/form-data"),
        (form(PURPOSE, FILE), "", 415, "multipart/form-data"),
    ],
)  # fmt: skip
async def test_a_body_that_is_no_whole_form_is_refused(
    http: httpx.AsyncClient, content: bytes, type: str, status: int, word: str
) -> None:
    headers = {"content-type": type} if type else {}
    answer = await http.post("/v1/files", content=content, headers=headers)
    refused(answer, status, word)


@pytest.mark.usefixtures("nothing_new")
async def test_a_compressed_form_is_refused(http: httpx.AsyncClient) -> None:
    headers = {"content-type": FORM, "content-encoding": "gzip"}
    answer = await http.post("/v1/files", content=form(PURPOSE, FILE), headers=headers)
    refused(answer, 415, "content-encoding")


async def test_a_file_as_large_as_can_be_is_taken(small: httpx.AsyncClient) -> None:
    answer = await post(small, ("file", "a", b"x" * MOST_BYTES), PURPOSE)
    assert (answer.status_code, answer.json()["bytes"]) == (200, MOST_BYTES)


@pytest.mark.usefixtures("nothing_new")
async def test_a_file_that_is_too_large_is_refused(small: httpx.AsyncClient) -> None:
    refused(await post(small, PURPOSE, ("file", "a", b"x" * (MOST_BYTES + 1))), 413, "300,000")


class Raw:
    """A connection on which anything can be said."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, content: bytes) -> None:
        """A chunk of the body."""
        self.writer.write(b"%x\r\n%b\r\n" % (len(content), content))
        await self.writer.drain()

    async def answer(self) -> bytes:
        """All that comes until the connection is closed."""
        async with asyncio.timeout(30):
            return await self.reader.read()


@asynccontextmanager
async def uploading(gateway: Process, framing: str) -> AsyncIterator[Raw]:
    """A connection on which the head of an upload was sent."""
    url = httpx.URL(address_of(gateway))
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-type: {FORM}\r\n{framing}\r\n\r\n"
    writer.write(head.encode())
    try:
        yield Raw(reader, writer)
    finally:
        writer.close()


CHUNKED = "transfer-encoding: chunked"
UNENDED = form(PURPOSE, FILE, end="")[:-2]


@pytest.mark.usefixtures("nothing_new")
@pytest.mark.parametrize("begin", [UNENDED, form(PURPOSE, FILE), b"\r\n"])
async def test_a_body_without_an_end_is_cut_off(narrow: Process, begin: bytes) -> None:
    async with uploading(narrow, CHUNKED) as raw:
        await raw.send(begin)
        sent = 0

        async def send_for_ever() -> None:
            nonlocal sent
            while True:
                await raw.send(b"x" * 65_536)
                sent += 65_536

        sending = asyncio.create_task(send_for_ever())
        async with asyncio.timeout(30):
            head = await raw.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 413 ")
            with pytest.raises(ConnectionError):
                await sending
        assert sent > MOST_BYTES


@pytest.mark.usefixtures("nothing_new")
async def test_a_file_is_refused_as_soon_as_it_is_too_large(narrow: Process) -> None:
    async with uploading(narrow, CHUNKED) as raw:
        await raw.send(UNENDED)
        await raw.send(b"x" * MOST_BYTES)  # and no more, though it is not over
        answer = await raw.answer()
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer


@pytest.mark.usefixtures("nothing_new")
async def test_a_length_that_is_too_large_is_refused_before_anything_comes(
    narrow: Process,
) -> None:
    async with uploading(narrow, "content-length: 99999999999") as raw:
        answer = await raw.answer()
        assert answer.startswith(b"HTTP/1.1 413 ") and b"file: has more than 300,000" in answer


@pytest.mark.usefixtures("nothing_new")
async def test_an_upload_that_stands_still_is_not_waited_for(narrow: Process) -> None:
    async with uploading(narrow, CHUNKED) as raw:
        await raw.send(UNENDED)
        answer = await raw.answer()
        assert answer.startswith(b"HTTP/1.1 408 ") and b"nothing of the body came for 1 s" in answer


async def test_an_upload_may_take_longer_in_all_than_it_may_stand_still(narrow: Process) -> None:
    async with uploading(narrow, CHUNKED) as raw:
        for place in range(0, len(body := form(PURPOSE, FILE)), 40):
            await raw.send(body[place : place + 40])
            await asyncio.sleep(0.25)  # what is tested is the pace
        raw.writer.write(b"0\r\n\r\n")
        async with asyncio.timeout(30):
            assert (await raw.reader.readline()).startswith(b"HTTP/1.1 200 ")


async def test_of_a_client_that_leaves_nothing_stays(narrow: Process, contents: Path) -> None:
    before = there(contents)
    async with uploading(narrow, CHUNKED) as raw:
        await raw.send(UNENDED + b"x" * 100_000)

        async def begun() -> bool:
            return bool(there(contents) - before)

        async def gone() -> bool:
            return there(contents) == before

        await until(begun)
        raw.writer.transport.abort()
        await until(gone)


async def test_a_reader_who_leaves_lets_go_of_the_content(
    narrow: Process, small: httpx.AsyncClient, http: httpx.AsyncClient, contents: Path
) -> None:
    id = (await post(http, PURPOSE, ("file", "a", b"x" * 20_000_000))).json()["id"]
    gateway = psutil.Process(narrow.pid)

    async def is_read() -> bool:
        return str(contents / id) in {file.path for file in gateway.open_files()}

    async def is_free() -> bool:
        return not await is_read()

    async with small.stream("GET", f"/v1/files/{id}/content"):
        await until(is_read)
    await until(is_free)


async def test_a_file_whose_time_is_over_is_gone(reader: Reader, http: httpx.AsyncClient) -> None:
    id = await added(reader, "default", timedelta(seconds=-1))
    for path in (f"/v1/files/{id}", f"/v1/files/{id}/content"):
        refused(await http.get(path), 404, "expired")
    refused(await http.delete(f"/v1/files/{id}"), 404, "expired")
    assert id not in (await http.get("/v1/files")).text


async def test_a_file_of_another_tenant_is_not_there(
    reader: Reader, http: httpx.AsyncClient
) -> None:
    id = await added(reader, "another", timedelta(days=1))
    for path in (f"/v1/files/{id}", f"/v1/files/{id}/content", f"/v1/files?after={id}"):
        refused(await http.get(path), 404, "no file")
    refused(await http.delete(f"/v1/files/{id}"), 404, "no file")
    assert id not in (await http.get("/v1/files")).text
    assert await reader.store.files.get(id, "another")


async def added(reader: Reader, tenant: str, lives: timedelta) -> str:
    """A row as another process has left it."""
    now = datetime.now(UTC)
    file = File(
        id=new_file_id(), tenant=tenant, purpose="batch", filename="a", bytes=1,
        created_at=now - timedelta(hours=1), expires_at=now + lives,
    )  # fmt: skip
    return (await reader.store.files.add(file)).id


async def test_a_content_that_is_gone_is_a_status(http: httpx.AsyncClient, contents: Path) -> None:
    id = (await post(http, FILE, PURPOSE)).json()["id"]
    (contents / id).unlink()
    refused(await http.get(f"/v1/files/{id}/content"), 404, "gone")
    assert (await http.delete(f"/v1/files/{id}")).json()["deleted"]


async def test_a_storage_that_is_away_is_a_status(workless: Stack, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    gateway = workless.gateway(DELTAWORKS_FILES_URL=f"file://{tmp_path}/taken")
    async with httpx.AsyncClient(base_url=address_of(gateway), timeout=60) as client:
        answer = await post(client, FILE, PURPOSE)
    refused(answer, 503, "storage of files")
    assert answer.json()["error"]["code"] == "storage_away"
    assert answer.headers["retry-after"] == "1"


async def test_a_key_needs_the_scope_and_sees_its_tenants_files_only(workless: Stack) -> None:
    address = address_of(workless.gateway("--port", "0"))

    async def key(*options: str) -> httpx.AsyncClient:
        words = ("keys", "create", "test", "--json", *options)
        made = workless.start("keys", "-m", "worker.cli", *words)
        assert await asyncio.to_thread(made.popen.wait, 60) == 0, made.printed()
        secret = json.loads(made.printed().splitlines()[-1])["key"]
        headers = {"authorization": f"Bearer {secret}"}
        return httpx.AsyncClient(base_url=address, headers=headers, timeout=60)

    async with (
        await key("--tenant", "one") as one,
        await key("--tenant", "one", "--scope", "jobs:read") as looker,
        await key("--tenant", "two") as two,
        httpx.AsyncClient(base_url=address, timeout=60) as nobody,
    ):
        id = (await post(one, FILE, PURPOSE)).json()["id"]
        refused(await post(looker, FILE, PURPOSE), 403, "jobs:write")
        refused(await looker.delete(f"/v1/files/{id}"), 403, "jobs:write")
        assert (await looker.get(f"/v1/files/{id}/content")).content == ROWS
        refused(await two.get(f"/v1/files/{id}"), 404)
        refused(await two.get(f"/v1/files/{id}/content"), 404)
        assert (await two.get("/v1/files")).json()["data"] == []
        refused(await nobody.get("/v1/files"), 401)
        refused(await post(nobody, FILE, PURPOSE), 401)


async def test_a_large_upload_takes_no_more_memory_than_a_small_one(workless: Stack) -> None:
    gateway = workless.gateway()
    process = psutil.Process(gateway.pid)
    piece, most = b"x" * 65_535 + b"\n", 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal most
        yield UNENDED
        for _ in range(1_600):
            yield piece
            most = max(most, process.memory_info().rss)
        yield f"\r\n--{BOUNDARY}--\r\n".encode()

    async with httpx.AsyncClient(base_url=address_of(gateway), timeout=60) as client:
        small = (await post(client, FILE, PURPOSE)).json()["id"]
        await client.get(f"/v1/files/{small}/content")
        before = process.memory_info().rss
        answer = await client.post("/v1/files", content=body(), headers={"content-type": FORM})
        made, read = answer.raise_for_status().json(), 0
        assert most - before < 30_000_000
        async with client.stream("GET", f"/v1/files/{made['id']}/content") as coming:
            async for part in coming.aiter_bytes():
                read += len(part)
                most = max(most, process.memory_info().rss)
        assert read == made["bytes"] > 100_000_000
        assert most - before < 30_000_000
        await client.delete(f"/v1/files/{made['id']}")
