"""`up`: the whole stack in the foreground, and its logs."""

import asyncio
import contextlib
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kombu.utils.url import maybe_sanitize_url
from rich.console import Console
from rich.text import Text

from worker import endpoints, settings
from worker.catalog import Catalog
from worker.cli.embedded import (
    GATEWAY,
    WORKER,
    address_of,
    join_gateway,
    joining_worker,
    log_of,
)
from worker.cli.exits import ExitCode
from worker.cli.screen import print_json
from worker.engines import Membership
from worker.errors import EngineFailed
from worker.logs import log_as_command
from worker.runtime import open_client_runtime
from worker.settings import Settings

# How often the logs are looked at.
LOOK_S = 0.1
# What is gone for longer than its keeper's restarts take does not come back.
GONE_S = 30.0


def up(port: int, *, json: bool) -> int:
    """Run everything that is not configured, a worker and a gateway, until SIGINT or SIGTERM.

    Both are engines, the worker the one that `run` joins as well: their keepers restart them.
    The gateway is without keys, and for this machine only.

    Raises:
        DeltaworksError: something does not work, or has died again and again.
    """
    log_as_command()
    stopped = _until_signalled()
    asyncio.run(_check())
    chosen, catalog = settings.load(), endpoints.upstreams()
    joining = joining_worker(chosen)
    with join_gateway(chosen, port) as gateway, joining.result() as worker:
        _print_places(chosen, catalog, address_of(gateway), json)
        _follow_logs(chosen, {WORKER: worker, GATEWAY: gateway}, stopped)
        said = f"what does not end within {chosen.grace_s:g} s is queued again"
        sys.stderr.write(f"stopping: the worker ends the jobs that it runs; {said}\n")
    return ExitCode.COMPLETED


async def _check() -> None:
    """What does not work is said here, not in the log of a worker that does not start."""
    async with open_client_runtime():
        pass


def _until_signalled() -> Callable[[], bool]:
    received: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: received.append(number))
    return lambda: bool(received)


def _print_places(chosen: Settings, catalog: Catalog, gateway: str, json: bool) -> None:
    found = endpoints.resolve()
    places = {
        "home": str(chosen.home.absolute()),
        "redis": maybe_sanitize_url(found.redis_url),
        "broker": maybe_sanitize_url(found.broker_url),
        "database": maybe_sanitize_url(found.database_url),
        "upstreams": {upstream.name: upstream.base_url for upstream in catalog.upstreams},
        "simulated": catalog.simulated,
        "gateway": gateway,
        "log": str(log_of(chosen.home, WORKER)),
    }
    if json:
        return print_json(places)
    for name, base_url in _named(places):
        sys.stdout.write(f"{name:10} {base_url}\n")
    sys.stdout.write(
        '\ntry        deltaworks run "Why is the sky blue?"\n'
        '           deltaworks follow $(deltaworks submit "And at night?")\n'
        f"           any of OpenAI's clients with base_url {gateway}/v1\n\n"
    )
    sys.stdout.flush()
    return None


def _named(places: dict[str, object]) -> Iterator[tuple[str, object]]:
    for name, place in places.items():
        if isinstance(place, dict):
            yield from (("upstream", f"{key} {url}") for key, url in place.items())
        elif name != "simulated":
            yield name, place


def _follow_logs(
    chosen: Settings, running: Mapping[str, Membership], stopped: Callable[[], bool]
) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    logs = {name: log_of(chosen.home, name) for name in running}
    lines = [_new_lines(log) for log in logs.values()]
    seen_at = dict.fromkeys(running, time.monotonic())
    while not stopped():
        for line in itertools.chain.from_iterable(map(next, lines)):
            console.print(Text(line))
        for name, membership in running.items():
            if Path(membership.address).exists():
                seen_at[name] = time.monotonic()
            elif time.monotonic() - seen_at[name] > GONE_S:
                raise EngineFailed(f"the {name} has died; see {logs[name]}")
        time.sleep(LOOK_S)


def _new_lines(log: Path) -> Iterator[list[str]]:
    """The complete lines the log has grown by since the last look; a new log is read anew."""
    inode, position = 0, 0
    while True:
        lines: list[str] = []
        with contextlib.suppress(OSError), log.open("rb") as file:
            if os.fstat(file.fileno()).st_ino != inode:
                inode, position = os.fstat(file.fileno()).st_ino, 0
            file.seek(position)
            grown, _, _ = file.read().rpartition(b"\n")
            position += len(grown) + 1 if grown else 0
            lines = grown.decode(errors="replace").splitlines()
        yield lines
