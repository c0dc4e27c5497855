"""`batch results`: the rows that have ended, as lines of OpenAI's files."""

import asyncio
import secrets
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from models import Batch, BatchStatus
from worker.batch.collecting import results
from worker.batch.report import words
from worker.batch.results import line_of
from worker.cli.batch.finding import found
from worker.cli.document import STDIN
from worker.errors import InvalidRequest
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime

# Stands for standard output in the place of a file, as it does for standard input.
STDOUT = STDIN


class _Files(NamedTuple):
    output: BinaryIO
    errors: BinaryIO | None


def save(id: str, output: Path | None, errors: Path | None) -> None:
    """Write what the batch's rows came to so far.

    Args:
        id: the batch's, or how it begins.
        output: for what succeeded; None is standard output.
        errors: for what failed; None is nowhere.

    Raises:
        InvalidRequest: a file cannot be written, or both are one.
        DeltaworksError: there is no such batch.
    """
    log_as_command()
    output = output or STDOUT
    if errors is not None and output.absolute() == errors.absolute():
        raise InvalidRequest("--errors", "is where the output goes", "name another file")
    asyncio.run(_save(id, output, errors))


async def _save(id: str, output: Path, errors: Path | None) -> None:
    async with open_client_runtime() as client:
        batch = await found(client, id)
        with ExitStack() as stack:
            into = _Files(
                stack.enter_context(written(output, "--output")),
                None if errors is None else stack.enter_context(written(errors, "--errors")),
            )
            ended, failed = await _write(client, batch, into)
        _note(batch, ended, failed if errors is None else 0)


async def _write(client: Client, batch: Batch, into: _Files) -> tuple[int, int]:
    """Write all lines; how many rows have ended, and how many of them have failed."""
    ended = failed = 0
    async for jobs in results(client.store, batch):
        lines = [line_of(job, batch) for job in jobs]
        ended += len(lines)
        failed += sum(not line.is_output for line in lines)
        into.output.write(b"".join(line.content for line in lines if line.is_output))
        if into.errors is not None:
            into.errors.write(b"".join(line.content for line in lines if not line.is_output))
    into.output.flush()
    return ended, failed


def _note(batch: Batch, ended: int, left_out: int) -> None:
    if left_out:
        rows = words.counted(left_out, "failed row")
        sys.stderr.write(f"{rows} left out: --errors FILE has their errors\n")
    if not BatchStatus(batch.status).terminal:
        total = words.counted(batch.total, "row")
        sys.stderr.write(f"the batch is {batch.status}: {ended:,} of {total} so far\n")
    elif batch.status == BatchStatus.FAILED:
        sys.stderr.write(f"its file was refused: deltaworks batch status {batch.id}\n")


@contextmanager
def written(path: Path, option: str) -> Iterator[BinaryIO]:
    """A file that takes its name at the end of the block; `-` is standard output.

    Raises:
        InvalidRequest: it cannot be written there.
    """
    if path == STDOUT:
        yield sys.stdout.buffer
        return
    path = path.resolve()  # a link stays one
    is_special = path.exists() and not path.is_file()  # a pipe or a device has no whole
    part = path if is_special else path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        file = part.open("wb" if is_special else "xb")
    except OSError as error:
        problem = f"{path} cannot be written ({error.strerror})"
        raise InvalidRequest(option, problem, "name a file in a folder of yours") from None
    try:
        with file:
            yield file
        if not is_special:
            part.replace(path)
    except BaseException:
        if not is_special:
            part.unlink(missing_ok=True)
        raise
