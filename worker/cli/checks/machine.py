"""Checks of this machine: versions, settings, open files, where files of batches lie."""

import platform
import resource
from collections.abc import Sequence
from importlib.metadata import version

from kombu.utils.url import maybe_sanitize_url

from worker import __version__, settings
from worker.cli.checks.finding import Finding, Level
from worker.errors import FileNotFound, StorageAway
from worker.files import draft, in_thread, new_file_id, storage_of

# Files a worker needs beside its streams' sockets.
OTHER_FILES = 100


async def versions() -> Sequence[Finding]:
    """What runs here."""
    names = ", ".join(f"{name} {version(name)}" for name in ("celery", "redis", "sqlalchemy"))
    said = f"deltaworks {__version__}, Python {platform.python_version()}, {names}"
    return [Finding("versions", Level.OK, said)]


async def chosen() -> Sequence[Finding]:
    """What is configured."""
    known = settings.load()
    kept = [] if known.embedded_redis else ["Redis"]
    kept += [] if known.embedded_database else ["database"]
    said = f"home {known.home.absolute()}; configured: {', '.join(kept) or 'nothing, all embedded'}"
    return [Finding("settings", Level.OK, said)]


async def open_files() -> Sequence[Finding]:
    """Whether a worker may open a socket for each of its streams."""
    streams = settings.load().streams
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{limit:,} open files for {streams:,} streams"
    if limit != resource.RLIM_INFINITY and limit < streams + OTHER_FILES:
        remedy = "raise the hard limit (ulimit -Hn), or lower DELTAWORKS_STREAMS"
        return [Finding("files", Level.FAIL, said, remedy)]
    return [Finding("files", Level.OK, said)]


async def storage() -> Sequence[Finding]:
    """Whether a file of a batch can be written, read and removed where they are to lie."""
    known, id = settings.load(), new_file_id()
    place = maybe_sanitize_url(known.files_url) if known.files_url else "a folder in the home"
    storage = storage_of(known)
    try:
        async with draft(storage, id) as file:
            await in_thread(file.write, b"deltaworks doctor")
        await in_thread(storage.size, id)
        await in_thread(storage.remove, id)
    except (StorageAway, FileNotFound) as error:
        remedy = "see to it that it is there, and that this user may write to it"
        return [Finding("storage", Level.FAIL, f"{place}: {error}", remedy)]
    return [Finding("storage", Level.OK, f"files of batches: {place}")]
