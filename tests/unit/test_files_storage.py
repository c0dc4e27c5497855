"""The storage of files: whole contents or none, wherever they lie."""

import asyncio
import io
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem  # type: ignore[import-untyped]

from worker.errors import ConfigurationError, FileNotFound, StorageAway
from worker.files import Storage, draft, in_thread, new_file_id, pieces, storage_of
from worker.settings import Settings

LINES = b"one\ntwo\n" + b"x" * 100 + b"\nlast"


class Parts(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A service like S3: parts are sent as they fill up, and the object appears with the last."""

    protocol = "parts"
    cachable = False
    objects: ClassVar[dict[str, bytes]] = {}
    under_way: ClassVar[set[str]] = set()
    broken = False

    def _open(self, path, mode="rb", block_size="default", autocommit=True, **kwargs):
        if Parts.broken:
            raise RuntimeError("the service is at s3.example.com/secret")
        return PartsFile(self, path, mode, block_size, autocommit, **kwargs)

    def info(self, path, **kwargs):
        if path not in Parts.objects:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(Parts.objects[path]), "type": "file"}

    def rm_file(self, path):
        if Parts.objects.pop(path, None) is None:
            raise FileNotFoundError(path)


class PartsFile(AbstractBufferedFile):  # type: ignore[misc]
    def _initiate_upload(self):
        Parts.under_way.add(self.path)
        self.sent = b""

    def _upload_chunk(self, final=False):
        self.sent += self.buffer.getvalue()
        if self.autocommit and final:
            self.commit()
        return True

    def commit(self):
        Parts.under_way.discard(self.path)
        Parts.objects[self.path] = self.sent

    def discard(self):
        Parts.under_way.discard(self.path)

    def _fetch_range(self, start, end):
        return Parts.objects[self.path][start:end]


fsspec.register_implementation("parts", Parts, clobber=True)


@pytest.fixture
def parts() -> Iterator[Storage]:
    """A storage at the service like S3, which is empty."""
    Parts.objects.clear()
    Parts.under_way.clear()
    Parts.broken = False
    yield Storage("parts://bucket/files")
    Parts.broken = False


@pytest.fixture(params=["file", "memory", "parts"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """A storage, empty, of each kind."""
    if request.param == "parts":
        found: Storage = request.getfixturevalue("parts")
        return found
    MemoryFileSystem.store.clear()
    folder = tmp_path / "files"
    return Storage(f"file://{folder}" if request.param == "file" else "memory://bucket/files")


def write(storage: Storage, id: str, content: bytes = LINES) -> None:
    with storage.writing(id) as file:
        for start in range(0, len(content), 1_000_000):
            file.write(content[start : start + 1_000_000])


def read(storage: Storage, id: str) -> bytes:
    with storage.reading(id) as file:
        return file.read()


def test_what_was_written_is_read_and_gone_when_removed(storage: Storage) -> None:
    id = new_file_id()
    write(storage, id)
    assert (read(storage, id), storage.size(id)) == (LINES, len(LINES))
    storage.remove(id)
    storage.remove(id)
    for gone in (storage.size, lambda id: read(storage, id)):
        with pytest.raises(FileNotFound):
            gone(id)


def test_lines_come_with_their_ends_and_not_beyond_a_limit(storage: Storage) -> None:
    write(storage, "a")
    with storage.reading("a") as file:
        assert (file.readline(50), file.readline(50)) == (b"one\n", b"two\n")
        assert (file.readline(50), file.readline(51)) == (b"x" * 50, b"x" * 50 + b"\n")
        assert (file.readline(50), file.readline(50)) == (b"last", b"")


def test_a_content_of_many_parts_is_whole(storage: Storage) -> None:
    content = os.urandom(1_000_000) * 20
    write(storage, "large", content)
    assert read(storage, "large") == content
    assert storage.size("large") == len(content)


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_of_a_write_that_is_broken_off_nothing_stays(storage: Storage, size: int) -> None:
    with pytest.raises(KeyError, match="mine"), storage.writing("a") as file:
        file.write(b"x" * size)
        raise KeyError("mine")
    with pytest.raises(FileNotFound):
        storage.size("a")
    assert not Parts.under_way


def test_an_error_of_the_block_is_not_taken_for_one_of_the_storage(storage: Storage) -> None:
    with pytest.raises(ConnectionResetError), storage.writing("a") as file:
        file.write(b"x")
        raise ConnectionResetError
    write(storage, "b")
    with pytest.raises(ConnectionResetError), storage.reading("b"):
        raise ConnectionResetError


@pytest.mark.parametrize("size", [10, 20_000_000])
def test_an_object_appears_only_with_its_end(parts: Storage, size: int) -> None:
    with parts.writing("a") as file:
        file.write(b"x" * size)
        assert not Parts.objects
    assert [len(content) for content in Parts.objects.values()] == [size]


def test_a_folder_shows_a_content_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    storage = Storage(f"file://{folder}")
    assert not folder.exists()
    with storage.writing("a") as file:
        file.write(b"x")
        (part,) = folder.iterdir()
        assert part.name.startswith("a.") and part.suffix == ".part"
        with pytest.raises(FileNotFound):
            storage.size("a")
    (whole,) = folder.iterdir()
    assert whole.name == "a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(whole.stat().st_mode) == 0o600


def test_two_writers_of_one_content_do_not_mix(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}")
    with storage.writing("a") as one:
        one.write(b"on")
        with storage.writing("a") as two:
            two.write(b"two")
        assert read(storage, "a") == b"two"
        one.write(b"e")
    assert read(storage, "a") == b"one"


def test_what_a_dead_process_left_of_a_draft_is_removed_in_time(tmp_path: Path) -> None:
    for name in ("a.0.part", "b.0.part", "c"):
        (tmp_path / name).write_bytes(b"x")
    for name in ("a.0.part", "c"):
        os.utime(tmp_path / name, (0, 0))
    write(Storage(f"file://{tmp_path}"), "d")
    assert {path.name for path in tmp_path.iterdir()} == {"b.0.part", "c", "d"}


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../a", "a/b", "a\\b", "a\x00", "a.part", "a\n", "ä"]
)
def test_an_id_that_is_none_walks_nowhere(storage: Storage, id: str) -> None:
    write(storage, "a")
    for use in (storage.size, storage.remove, lambda id: read(storage, id)):
        with pytest.raises(FileNotFound):
            use(id)
    with pytest.raises(FileNotFound):
        write(storage, id)


def test_a_folder_that_cannot_be_written_is_said_to_be_away(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where the folder should be")
    storage = Storage(f"file://{tmp_path / 'taken'}")
    with pytest.raises(StorageAway, match="File exists") as caught:
        write(storage, "a")
    assert str(tmp_path) not in str(caught.value)


def test_a_full_disk_is_said_to_be_one() -> None:
    with (
        pytest.raises(StorageAway, match="No space left"),
        Storage("full://x").writing("a") as file,
    ):
        file.write(b"x")


class Full(Parts):
    protocol = "full"

    def _open(self, path, mode="rb", block_size="default", autocommit=True, **kwargs):
        return Path("/dev/full").open("wb", buffering=0)


fsspec.register_implementation("full", Full, clobber=True)


def test_a_service_that_is_away_is_told_without_its_address(parts: Storage) -> None:
    write(parts, "a")
    Parts.broken = True
    for use in (lambda: read(parts, "a"), lambda: write(parts, "b")):
        with pytest.raises(StorageAway, match="RuntimeError") as caught:
            use()
        assert "example.com" not in str(caught.value)


def test_the_home_has_the_folder_where_nothing_is_set(tmp_path: Path) -> None:
    write(storage_of(Settings(home=tmp_path, files_url=None)), "a")
    assert (tmp_path / "files" / "a").read_bytes() == LINES
    write(storage_of(Settings(home=tmp_path, files_url=f"file://{tmp_path}/other")), "a")
    assert (tmp_path / "other" / "a").read_bytes() == LINES


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("oss://key:secret@bucket", "ossfs: pip install ossfs"),
        ("nowhere://user:secret@host", "nowhere:// cannot be opened"),
        ("file://relative/path", "file:///its/path"),
    ],
)
def test_a_url_that_does_not_work_is_refused_by_its_setting(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        Storage(url)
    assert str(caught.value).startswith("DELTAWORKS_FILES_URL: ")
    assert "secret" not in str(caught.value)


def test_ids_sort_by_their_age() -> None:
    first = new_file_id()
    assert len(first) == len("file-") + 12 + 20
    assert first[:17] <= new_file_id()[:17]


async def test_a_loop_writes_and_reads_in_threads(storage: Storage) -> None:
    content = os.urandom(700_000)
    async with draft(storage, "a") as file:
        await in_thread(file.write, content)
    read = [piece async for piece in pieces(storage, "a")]
    assert b"".join(read) == content
    assert max(map(len, read)) <= 256 * 1024
    with pytest.raises(FileNotFound):
        await anext(aiter(pieces(storage, "b")))


async def test_of_a_draft_that_is_broken_off_nothing_stays(storage: Storage) -> None:
    with pytest.raises(KeyError):
        async with draft(storage, "a") as file:
            await in_thread(file.write, b"x")
            raise KeyError
    with pytest.raises(FileNotFound):
        storage.size("a")


async def test_who_is_cancelled_waits_for_the_step_under_way() -> None:
    begun, may_end, written = threading.Event(), threading.Event(), io.BytesIO()

    def step() -> None:
        begun.set()
        may_end.wait(10)
        written.write(b"whole")

    task = asyncio.create_task(in_thread(step))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    asyncio.get_running_loop().call_later(0.05, may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert written.getvalue() == b"whole"
