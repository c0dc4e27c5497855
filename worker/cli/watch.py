"""Watching a job to its end, or turning away from it: the job does not need its reader."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress

from models import Job, JobState
from worker.cancellation import cancel
from worker.channel.events import START, Cursor
from worker.cli.exits import ExitCode, drop_output, outcome
from worker.cli.screen import Screen
from worker.cli.views import JsonLines, Text, View
from worker.runtime import Client

# How long a second Ctrl-C is waited for, which cancels the job.
SECOND_THOUGHT_S = 2.0
# A job of which nothing was heard for so long may have no worker.
PATIENCE_S = 5.0
# How long a reader who turns away waits for the embedded worker to begin.
BEGIN_S = 15.0


def view(json: bool) -> View:
    """How the job is shown."""
    screen = Screen()
    return JsonLines(screen) if json else Text(screen)


class Watch:
    """One job, one reader. `embedded` is whether the worker is retired when its users leave."""

    def __init__(self, client: Client, job: Job, view: View, *, embedded: bool) -> None:
        self._client = client
        self._job = job
        self._view = view
        self._embedded = embedded

    async def run(self, after: Cursor = START) -> ExitCode:
        """Show the job from the cursor on: to its end, or until a signal or a closed pipe.

        The first SIGINT detaches, a second soon after it cancels the job; SIGTERM detaches.

        Raises:
            InvalidCursor: the job has not published so much.
        """
        reading = asyncio.create_task(self._read(after))
        reminding = asyncio.create_task(self._remind())
        with received_signals() as signals:
            try:
                received = await self._first(reading, signals)
                if received is None:
                    return await reading
                await stop(reading, reminding)
                return await self._turn_away(received, signals)
            except BrokenPipeError:
                drop_output()
                return ExitCode.DETACHED
            finally:
                await stop(reading, reminding)

    async def _read(self, after: Cursor) -> ExitCode:
        async with aclosing(self._client.follower.follow(self._job.id, after)) as events:
            async for event in events:
                self._view.show(event)
        return await self._finish(await self._client.store.jobs.get(self._job.id))

    async def _finish(self, job: Job) -> ExitCode:
        try:
            self._view.finish(job, await self._client.store.jobs.attempts(job.id))
        except BrokenPipeError:
            drop_output()
        return outcome(job.state)

    async def _first(
        self, reading: "asyncio.Task[ExitCode]", signals: "asyncio.Queue[int]"
    ) -> int | None:
        """The signal that came before the end of the job; None where none did."""
        signalled = asyncio.create_task(signals.get())
        await asyncio.wait((reading, signalled), return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            await stop(signalled)
            return None
        return signalled.result()

    async def _turn_away(self, received: int, signals: "asyncio.Queue[int]") -> ExitCode:
        if received == signal.SIGINT:
            self._view.note("detaching; Ctrl-C again within 2 s cancels the job")
            with suppress(TimeoutError):
                async with asyncio.timeout(SECOND_THOUGHT_S):
                    received = await signals.get()
                if received == signal.SIGINT:
                    self._view.note("cancelling")
                    return await self._cancel()
        return await self._detach()

    async def _cancel(self) -> ExitCode:
        client = self._client
        known = client.store.jobs, client.log, client.settings, client.catalog
        job, _ = await cancel(self._job.id, *known)
        return await self._finish(job)

    async def _detach(self) -> ExitCode:
        if not await self._has_begun():
            self._view.note("no worker has begun the job; the next one does")
        job = await self._client.store.jobs.get(self._job.id)
        self._view.leave(job)
        goes_on = "the job has ended" if JobState(job.state).terminal else "the job goes on"
        after = "" if self._view.cursor == START else f" --after {self._view.cursor}"
        self._view.note(f"detached; {goes_on}: deltaworks follow {job.id}{after}")
        return ExitCode.DETACHED

    async def _has_begun(self) -> bool:
        """Wait until the embedded worker runs the job, for what it runs it finishes without us."""
        if not self._embedded:
            return True
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_S):
                async with aclosing(self._client.follower.follow(self._job.id)) as events:
                    async for _ in events:
                        return True
        return False

    async def _remind(self) -> None:
        await asyncio.sleep(PATIENCE_S)
        job = await self._client.store.jobs.get(self._job.id)
        if job.state != JobState.QUEUED:
            return
        if job.scheduled_at is not None:
            due = job.scheduled_at.astimezone()
            self._view.note(f"the job is scheduled for {due:%Y-%m-%d %H:%M:%S}")
        else:
            self._view.note("no worker has taken the job yet; is one running? deltaworks worker")


@contextmanager
def received_signals() -> "Iterator[asyncio.Queue[int]]":
    """SIGINT and SIGTERM as they come."""
    loop = asyncio.get_running_loop()
    received: asyncio.Queue[int] = asyncio.Queue()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, received.put_nowait, number)
    try:
        yield received
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


async def stop(*tasks: "asyncio.Task[object]") -> None:
    """Cancel the tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
