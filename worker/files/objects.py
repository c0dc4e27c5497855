"""Contents as objects of a service that fsspec knows."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

import fsspec  # type: ignore[import-untyped]
from fsspec.registry import known_implementations  # type: ignore[import-untyped]
from fsspec.spec import AbstractBufferedFile  # type: ignore[import-untyped]

from worker.errors import ConfigurationError

logger = logging.getLogger(__name__)

# What goes to the service at a time: S3 takes 10,000 parts of a content at most, each of 5 MB or
# more. And what comes from it at a time.
WRITTEN, READ = 8 * 1024 * 1024, 1024 * 1024


class Objects:
    """Contents below a URL.

    Args:
        url: `protocol://place`; what the protocol needs besides it (keys, regions) stands where
            its package looks for it: in the environment.
        setting: who says so, for errors.

    Raises:
        ConfigurationError: nobody knows the protocol, or what it needs is missing. The URL, which
            may hold a password, is not quoted.
    """

    # Each service has errors of its own, and not all of them are an OSError.
    faults: tuple[type[Exception], ...] = (Exception,)

    def __init__(self, url: str, setting: str) -> None:
        protocol = url.partition("://")[0]
        try:
            self._service, root = fsspec.url_to_fs(url)
        except ImportError as error:
            remedy = _remedy(protocol)
            raise ConfigurationError(f"{setting}: {protocol}:// {remedy}") from error
        except Exception as error:
            raise ConfigurationError(
                f"{setting}: {protocol}:// cannot be opened ({type(error).__name__}); see fsspec's "
                "list of protocols for what its URL looks like"
            ) from error
        self._root = str(root).rstrip("/")

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file whose object appears at the end of the block."""
        path = self._path(name)
        file = self._begun(path)
        try:
            yield cast(BinaryIO, file)
            file.close()
            if hasattr(file, "commit"):
                file.commit()
        except BaseException:
            self._discard(file, path)
            raise

    def open(self, name: str) -> BinaryIO:
        """The content."""
        file = self._service.open(self._path(name), "rb", block_size=READ)
        if isinstance(file, AbstractBufferedFile):  # its lines come slowly, and know no limit
            return io.BufferedReader(cast(io.RawIOBase, file), READ)
        return cast(BinaryIO, file)

    def size(self, name: str) -> int:
        """Its bytes."""
        # A listing that is kept would show what has gone.
        self._service.invalidate_cache()
        return int(self._service.info(self._path(name))["size"])

    def remove(self, name: str) -> None:
        """Remove it. Raises FileNotFoundError where it is not, if the service tells."""
        self._service.rm_file(self._path(name))

    def _begun(self, path: str) -> Any:
        how: dict[str, object] = {"mode": "wb", "block_size": WRITTEN, "autocommit": False}
        try:
            return self._service.open(path, **how)
        except FileNotFoundError:
            # sftp:// and the like need their folder first. Others are not asked for one: s3://
            # would look for the bucket each time, which a key may not be allowed to.
            self._service.makedirs(self._root, exist_ok=True)
            return self._service.open(path, **how)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _discard(self, file: Any, path: str) -> None:
        """Leave nothing of what was written; what it was broken off by says more than we could."""
        try:
            if hasattr(file, "discard"):
                file.discard()
            if isinstance(file, AbstractBufferedFile):
                file.closed = True  # or its finalizer would write what is left of it
                return
            file.close()
            with suppress(FileNotFoundError):
                self._service.rm_file(path)
        except Exception as error:
            logger.warning("what is left of a broken write stays: %s", type(error).__name__)


def _remedy(protocol: str) -> str:
    """What to install for a protocol whose package is missing."""
    known = known_implementations.get(protocol, {})
    package = str(known.get("class", "")).partition(".")[0]
    if package and package != "fsspec":
        return f"needs the package {package}: pip install {package}"
    return f"needs a package that is missing: {known.get('err', 'see the documentation of fsspec')}"
