"""`workers` and `drain`: which worker processes there are, and having them end."""

import asyncio
import sys
import time
from collections.abc import Sequence

from worker.cli.exits import ExitCode
from worker.cli.screen import print_json
from worker.cli.tables import print_rows
from worker.errors import InvalidRequest
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime
from worker.store import Present
from worker.text import moment

COLUMNS = ("worker", "state", "jobs", "bulk slots")
# How often it is asked who is still there.
LOOK_S = 0.5


def show(*, json: bool) -> int:
    """Print each worker process and what it holds; the exit code."""
    log_as_command()
    found = asyncio.run(_all())
    if json:
        print_json([_document(each) for each in found])
    else:
        print_rows(COLUMNS, map(_row, found), map(_line, found))
    return ExitCode.COMPLETED


def drain(
    names: Sequence[str], *, everyone: bool, wait: bool, timeout_s: float | None, json: bool
) -> int:
    """Have worker processes take no more jobs, give back what the grace does not see ended, exit.

    Args:
        names: a worker's name as `workers` prints it, its beginning up to a colon, or its host.
        everyone: all of them.
        wait: until they have ended.
        timeout_s: and how long at most; None is for ever.
        json: what is printed.

    Returns:
        The exit code: FAILED where some are still there after `timeout_s`.

    Raises:
        InvalidRequest: no worker has a name, or neither names nor `everyone` are given.
    """
    if bool(names) == everyone:
        raise InvalidRequest("WORKER", "is missing" if not names else "is given beside --all",
                             "name workers (see deltaworks workers), or say --all")  # fmt: skip
    log_as_command()
    told, left = asyncio.run(_drain(names, timeout_s if wait else 0.0))
    if json:
        print_json({"told": told, "left": left if wait else None})
    else:
        sys.stdout.writelines(f"{owner} is told to end\n" for owner in told)
        sys.stderr.write("no worker is there\n" if not told else "")
    if wait and left:
        sys.stderr.write(f"still there: {', '.join(left)}\n")
        return ExitCode.FAILED
    return ExitCode.COMPLETED


async def _all() -> Sequence[Present]:
    async with open_client_runtime() as client:
        return await client.store.processes.all()


async def _drain(names: Sequence[str], timeout_s: float | None) -> tuple[list[str], list[str]]:
    async with open_client_runtime() as client:
        found = [each.owner for each in await client.store.processes.all() if each.alive]
        for name in names:
            if not any(_is(owner, name) for owner in found):
                problem = f"{name[:80]!r} is no worker's name, nor a host's"
                raise InvalidRequest("WORKER", problem, "see deltaworks workers")
        told = [owner for owner in found if not names or any(_is(owner, name) for name in names)]
        await client.store.processes.drain(told)
        return told, await _await_end(client, told, timeout_s)


def _is(owner: str, name: str) -> bool:
    return owner == name or owner.startswith(f"{name.removesuffix(':')}:")


async def _await_end(client: Client, told: Sequence[str], timeout_s: float | None) -> list[str]:
    """Those of them that are still there when the time is over."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        alive = {each.owner for each in await client.store.processes.all() if each.alive}
        left = [owner for owner in told if owner in alive]
        if not left or (until is not None and time.monotonic() >= until):
            return left
        await asyncio.sleep(LOOK_S)


def _state(process: Present) -> str:
    if not process.alive:
        return "silent"
    return "ends" if process.drain_at is not None else "runs"


def _document(process: Present) -> dict[str, object]:
    return {
        "worker": process.owner,
        "object": "worker",
        "state": _state(process),
        "jobs": process.jobs,
        "bulk_slots": process.bulk_slots,
        "drain_at": moment(process.drain_at),
    }


def _row(process: Present) -> list[str]:
    return [process.owner, _state(process), f"{process.jobs:,}", f"{process.bulk_slots:,}"]


def _line(process: Present) -> str:
    jobs, slots = f"{process.jobs:,} jobs", f"{process.bulk_slots:,} bulk slots"
    return f"{process.owner}, {_state(process)}, {jobs}, {slots}"
