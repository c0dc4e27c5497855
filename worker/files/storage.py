"""The room for contents: whole ones or none, ids that name no path, errors in our own words."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol

from worker.errors import ConfigurationError, FileNotFound, StorageAway
from worker.files.folder import Folder
from worker.files.objects import Objects
from worker.ids import new_id
from worker.settings import PREFIX, Settings

SETTING = f"{PREFIX}FILES_URL"
LOCAL = "file://"
# An id of anything else could walk to another place.
ID = re.compile(r"[A-Za-z0-9_-]+")


class Storage:
    """Contents by their ids. Every method blocks; each may be called in any thread.

    Args:
        url: `file:///folder`, or a URL of a protocol that fsspec knows.

    Raises:
        ConfigurationError: the URL does not work, or a package for it is missing.
    """

    def __init__(self, url: str) -> None:
        self._place: Folder | Objects
        if not url.startswith(LOCAL):
            self._place = Objects(url, SETTING)
            return
        path = Path(url.removeprefix(LOCAL))
        if not path.is_absolute():
            raise ConfigurationError(
                f"{SETTING}: {url!r} names no folder from the root on; write file:///its/path"
            )
        self._place = Folder(path)

    @contextmanager
    def writing(self, id: str) -> Iterator["Writable"]:
        """A file to write the content to.

        It is there, whole, once the block has ended without an exception; else nothing of it is.

        Raises:
            StorageAway: it cannot be written now.
        """
        name, faults = _checked(id), self._place.faults
        context = self._place.writing(name)
        with _in_our_words(name, faults):
            file = context.__enter__()
        try:
            yield _Guarded(file, name, faults)
        except BaseException as error:
            # Not in our words: what the block raised is its own, and is raised again.
            context.__exit__(type(error), error, error.__traceback__)
            raise
        with _in_our_words(name, faults):
            context.__exit__(None, None, None)

    @contextmanager
    def reading(self, id: str) -> Iterator["Readable"]:
        """A file to read the content from.

        Raises:
            FileNotFound: it is not there.
            StorageAway: it cannot be read now.
        """
        name, faults = _checked(id), self._place.faults
        with _in_our_words(name, faults):
            file = self._place.open(name)
        try:
            yield _Guarded(file, name, faults)
        finally:
            file.close()

    def size(self, id: str) -> int:
        """The content's bytes.

        Raises:
            FileNotFound: it is not there.
            StorageAway: the storage does not answer.
        """
        name = _checked(id)
        with _in_our_words(name, self._place.faults):
            return self._place.size(name)

    def remove(self, id: str) -> None:
        """Remove the content. Harmless where it is gone.

        Raises:
            StorageAway: the storage does not answer.
        """
        name = _checked(id)
        try:
            with _in_our_words(name, self._place.faults):
                self._place.remove(name)
        except FileNotFound:
            return


def storage_of(settings: Settings) -> Storage:
    """The storage that is configured: a folder in `home` where none is.

    Raises:
        ConfigurationError: as of `Storage`.
    """
    return Storage(settings.files_url or f"{LOCAL}{settings.home.absolute() / 'files'}")


def new_file_id() -> str:
    """An id for a new file."""
    return new_id("file-")


class Writable(Protocol):
    """What takes a content."""

    def write(self, piece: bytes, /) -> int:
        """Take a piece of it."""


class Readable(Protocol):
    """What gives a content."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes at most; none at its end."""

    def readline(self, limit: int = -1, /) -> bytes:
        """The next line with its end, or its first `limit` bytes; none at the content's end."""


class _Guarded:
    """A file of the storage, whose faults are told from those of whoever uses it."""

    def __init__(self, file: BinaryIO, name: str, faults: tuple[type[Exception], ...]) -> None:
        self._read, self._readline, self._write = file.read, file.readline, file.write
        self._name, self._faults = name, faults

    def read(self, size: int = -1, /) -> bytes:
        try:
            return self._read(size)
        except self._faults as error:
            raise _translated(error, self._name) from error

    def readline(self, limit: int = -1, /) -> bytes:
        try:
            return self._readline(limit)
        except self._faults as error:
            raise _translated(error, self._name) from error

    def write(self, piece: bytes, /) -> int:
        try:
            return self._write(piece)
        except self._faults as error:
            raise _translated(error, self._name) from error


@contextmanager
def _in_our_words(name: str, faults: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except faults as error:
        raise _translated(error, name) from error


def _translated(error: Exception, name: str) -> FileNotFound | StorageAway:
    if isinstance(error, FileNotFoundError):
        return FileNotFound(f"the content of the file {name[:80]!r} is gone")
    # Its own words may name a path or an address, but for the system's own ones.
    number = error.errno if isinstance(error, OSError) else None
    reason = os.strerror(number) if number else type(error).__name__
    return StorageAway(f"the storage of files does not do its work ({reason}); try again later")


def _checked(id: str) -> str:
    if not ID.fullmatch(id):
        raise FileNotFound(f"no file has the id {id[:80]!r}")
    return id
