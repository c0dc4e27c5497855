"""`batch watch`: to the end of a batch, or away from it; the batch does not need its reader."""

import asyncio
import os
import subprocess
import sys
import time

from models import Batch, BatchStatus
from worker.app import sweep_soon
from worker.cli.batch.finding import found
from worker.cli.batch.views import View, view
from worker.cli.embedded import BATCH, BATCH_TOLD, joining_worker
from worker.cli.exits import ExitCode, drop_output
from worker.cli.watch import received_signals, stop
from worker.errors import StoreAway
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime
from worker.store import Tally

# How often the database is asked: at first often, so that small batches end at once.
FIRST_POLL_S, POLL_S = 0.2, 1.0
FIRST_S = 10.0
# A batch whose file nobody has begun to read for so long may have no worker.
PATIENCE_S = 5.0
OUTCOMES = {
    BatchStatus.FAILED: ExitCode.FAILED,
    BatchStatus.EXPIRED: ExitCode.FAILED,
    BatchStatus.CANCELLED: ExitCode.CANCELLED,
}


def watch(id: str, on_end: str | None, *, json: bool) -> int:
    """Show the batch to its end; the exit code.

    Args:
        id: the batch's, or how it begins.
        on_end: what the shell runs once it has ended.
        json: whether the batch object is printed at each change.

    Raises:
        DeltaworksError: there is no such batch.
    """
    log_as_command()
    code, ended = asyncio.run(_watch(id, json))
    if ended is not None and on_end is not None:
        _run(on_end, ended)
    return code


def outcome(batch: Batch) -> ExitCode:
    """The exit code for a batch that has ended."""
    failed = Tally.of(batch.tally).failed
    completed = ExitCode.INCOMPLETE if failed else ExitCode.COMPLETED
    return OUTCOMES.get(BatchStatus(batch.status), completed)


class Watch:
    """One batch, one reader.

    Args:
        client: this process's.
        batch: what is watched.
        view: shows it.
        embedded: whether the worker is retired when its users leave.

    Attributes:
        batch: as it was seen last.
    """

    def __init__(self, client: Client, batch: Batch, view: View, *, embedded: bool) -> None:
        self.batch = batch
        self._client = client
        self._view = view
        self._embedded = embedded
        self._is_away = False

    async def run(self) -> ExitCode:
        """Show the batch to its end, or until a signal or a closed pipe: these detach."""
        reading = asyncio.create_task(self._read())
        with received_signals() as signals:
            signalled = asyncio.create_task(signals.get())
            try:
                await asyncio.wait((reading, signalled), return_when=asyncio.FIRST_COMPLETED)
                if reading.done():
                    await reading
                    return outcome(self.batch)
                return self._detach()
            except BrokenPipeError:
                drop_output()
                return ExitCode.DETACHED
            finally:
                await stop(reading, signalled)
                self._view.close()

    async def _read(self) -> None:
        began_s = time.monotonic()
        reminded = self._embedded
        while True:
            await self._look()
            if BatchStatus(self.batch.status).terminal:
                return
            waited_s = time.monotonic() - began_s
            if not reminded and waited_s >= PATIENCE_S:
                reminded = True
                self._remind()
            await asyncio.sleep(FIRST_POLL_S if waited_s < FIRST_S else POLL_S)

    async def _look(self) -> None:
        try:
            batch = await self._client.store.batches.get(self.batch.id)
            recent = await self._client.batches.recent(batch)
        except StoreAway as away:  # who watches over a night need not come back for it
            if not self._is_away:
                self._view.note(f"{away}; it is asked again until it answers")
            self._is_away = True
            return
        self._is_away = False
        self.batch = batch
        self._view.show(batch, recent)

    def _remind(self) -> None:
        if self.batch.status == BatchStatus.VALIDATING and self.batch.lease_owner is None:
            self._view.note("no worker has read the file yet; is one running? deltaworks worker")

    def _detach(self) -> ExitCode:
        self._view.close()
        again = f"deltaworks batch watch {self.batch.id}"
        goes_on = "the batch goes on"
        if self._embedded:
            goes_on += " while `deltaworks up`, or somebody who watches it, does"
        self._view.note(f"detached; {goes_on}: {again}")
        return ExitCode.DETACHED


async def _watch(id: str, json: bool) -> tuple[ExitCode, Batch | None]:
    async with open_client_runtime() as client:
        batch = await found(client, id)
        open_ = not BatchStatus(batch.status).terminal
        embedded = client.settings.embedded_redis and open_
        if embedded:
            await asyncio.wrap_future(joining_worker(client.settings))
            # The private Redis that had its wake-up may have ended with its last user.
            await sweep_soon()
        seen = Watch(client, batch, view(json), embedded=embedded)
        code = await seen.run()
        ended = seen.batch if BatchStatus(seen.batch.status).terminal else None
        return code, ended


def _run(command: str, batch: Batch) -> None:
    """Run what its owner wished for the end, with the batch in its environment."""
    tally = Tally.of(batch.tally)
    told = batch.id, batch.status, str(tally.completed), str(tally.failed)
    named = {f"{BATCH}{name}": value for name, value in zip(BATCH_TOLD, told, strict=True)}
    env = {**os.environ, **named}
    ended = subprocess.run(command, shell=True, env=env, check=False)  # noqa: S602 - is its purpose
    if ended.returncode:
        sys.stderr.write(f"--on-end ended with {ended.returncode}\n")
