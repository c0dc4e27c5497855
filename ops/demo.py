"""`make demo`: five prompts side by side through a real worker, with what may go wrong.

Redis, the worker and the simulator run as they do for `deltaworks run` with nothing configured, in
a home of the demo's own; `OPENAI_*` is ignored, so nobody's key is spent. One upstream limits the
rate, one breaks off in mid-stream; at the end the texts are read back from the database and
compared, character for character, with what was streamed. Exits 0 only if all was as promised.
"""

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec
from platformdirs import user_state_path
from rich.console import Console, Group
from rich.live import Live
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from models import Attempt, Job
from worker import settings
from worker.channel.events import ChannelEvent, Delta, End, Retrying, Started
from worker.cli.embedded import joining_worker
from worker.cli.exits import sentences_for_errors
from worker.cli.summary import pace, stopped
from worker.engines import Membership
from worker.runtime import Client, open_client_runtime

# Lines of text a prompt has on the screen: five prompts fit 24 lines.
LINES = 2
FRAMES_A_SECOND = 12
# Longer than everything takes on a busy machine.
PATIENCE_S = 60.0
STYLES = {
    "queued": "dim", "streaming": "cyan", "waiting": "yellow", "completed": "green",
    "incomplete": "yellow", "failed": "bold red", "cancelled": "yellow",
}  # fmt: skip


class Prompt(msgspec.Struct, frozen=True):
    """One prompt, how the simulator answers it, and the category its first attempt must end in."""

    title: str
    model: str
    fails_with: str | None = None


PROMPTS = (
    Prompt("Why is the sky blue?", "sim?tokens=150&rate=40"),
    Prompt("Think before you answer.", "sim-reasoning?reasoning=50&tokens=90&rate=40"),
    Prompt("This one is rate-limited.", "sim?fault=limit-seconds&wait=1&tokens=100", "rate_limit"),
    Prompt("This one is cut off.", "sim?fault=cut-rst&at=50&tokens=100&vary=1", "truncated"),
    Prompt("Tell me quickly.", "sim?tokens=400&rate=100&ttft=0.4"),
)


class Row:
    """What a reader of one job has got so far."""

    def __init__(self, prompt: Prompt) -> None:
        self.prompt = prompt
        self.text = ""
        self.state = "queued"
        self.attempt = 0
        self.said = ""
        self._deltas = 0
        self._first_at = 0.0
        self.rate: float | None = None

    def take(self, event: ChannelEvent) -> None:
        """Apply an event, as any reader of a channel does."""
        match event:
            case Started():
                self.text, self.state, self.attempt = "", "streaming", event.cursor.attempt
                self._deltas, self.rate = 0, None
            case Delta():
                self.text += event.text or ""
                self._measure()
            case Retrying():
                self.text, self.state, self.rate = "", "waiting", None
                self.said = stopped(event)
            case End():
                self.state = type(event).__name__.lower()

    def _measure(self) -> None:
        now = time.monotonic()
        self._deltas += 1
        if self._deltas == 1:
            self._first_at = now
        elif now > self._first_at:
            self.rate = (self._deltas - 1) / (now - self._first_at)

    def head(self) -> Table:
        """The prompt, its state, attempt and tokens a second, in one line."""
        line = Table.grid(expand=True, padding=(0, 1))
        line.add_column(ratio=1, no_wrap=True)
        line.add_column(justify="right", width=9)
        line.add_column(justify="right", width=9)
        line.add_column(justify="right", width=12)
        rate = "" if self.rate is None else f"{self.rate:.0f} tokens/s"
        attempt = f"attempt {self.attempt}" if self.attempt else ""
        state = Text(self.state, STYLES[self.state])
        line.add_row(Text(self.prompt.title, "bold"), attempt, state, Text(rate, "dim"))
        return line

    def tail(self, width: int) -> Text:
        """The end of the text, or what keeps it waiting, in `LINES` lines."""
        shown = Text(self.text) if self.text else Text(self.said, "yellow")
        lines = list(shown.wrap(Console(width=width), width))[-LINES:]
        lines += [Text()] * (LINES - len(lines))
        return Text("\n").join(lines)


def screen(rows: Sequence[Row], width: int) -> Group:
    """All rows, one below the other."""
    parts: list[Rule | Table | Text] = [Rule("Deltaworks: five prompts, live", style="dim")]
    for row in rows:
        parts += [row.head(), row.tail(width), Text()]
    return Group(*parts[:-1])


async def follow(client: Client, row: Row, job: Job, say_changes: bool) -> None:
    """Follow one job to its end; in a pipe, say what changes."""
    async for event in client.follower.follow(job.id):
        before = row.state
        row.take(event)
        if say_changes and row.state != before:
            said = f" ({row.said})" if isinstance(event, Retrying) else ""
            sys.stdout.write(f"{row.prompt.title:26} attempt {row.attempt} {row.state}{said}\n")
            sys.stdout.flush()


async def stream(client: Client, rows: Sequence[Row], console: Console) -> list[Job]:
    """Submit all prompts, follow all jobs, and return the saved rows."""
    submissions = [client.submission.submit(_request(row.prompt)) for row in rows]
    jobs = await asyncio.gather(*submissions)
    live = console.is_terminal
    with Live(console=console, auto_refresh=False, transient=False) as display:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as readers:
            following = [
                readers.create_task(follow(client, row, job, say_changes=not live))
                for row, job in zip(rows, jobs, strict=True)
            ]
            while live and not all(task.done() for task in following):
                display.update(screen(rows, console.width), refresh=True)
                await asyncio.sleep(1 / FRAMES_A_SECOND)
        saved = [await client.store.jobs.get(job.id) for job in jobs]
        for row, job in zip(rows, saved, strict=True):
            last = (await client.store.jobs.attempts(job.id))[-1:]
            row.rate = pace(job, last[0]) if last else None
        if live:
            display.update(screen(rows, console.width), refresh=True)
    return saved


def as_promised(row: Row, job: Job, attempts: Sequence[Attempt]) -> bool:
    """Whether the job took the way it was meant to take, and its text is what was streamed."""
    fails_with = row.prompt.fails_with
    expected = [None] if fails_with is None else [fails_with, None]
    took = [attempt.error_category for attempt in attempts]
    same = bool(row.text) and row.text == job.output_text
    return job.state == "completed" and same and took == expected


def verdict(row: Row, job: Job, attempts: Sequence[Attempt], kept: bool) -> Text:
    """One line on one prompt, as it stands in the database."""
    mark = Text("\N{CHECK MARK} ", "green") if kept else Text("\N{BALLOT X} ", "bold red")
    same = "=" if row.text == job.output_text else "is not"
    characters = f"streamed {len(row.text)} {same} saved {len(job.output_text or '')} characters"
    ways = ", then ".join(attempt.error_category or "answered" for attempt in attempts)
    return mark.append(f"{row.prompt.title:26}{characters}  {ways}", "default")


def _request(prompt: Prompt) -> dict[str, object]:
    messages = [{"role": "user", "content": prompt.title}]
    return {"request": {"model": prompt.model, "messages": messages}}


async def demonstrate(joining: "Future[Membership]", console: Console) -> bool:
    """The whole demo; whether all was as promised."""
    began = time.monotonic()
    async with open_client_runtime() as client:
        with console.status("starting Redis, a worker and the simulator"):
            await asyncio.wrap_future(joining)
        rows = [Row(prompt) for prompt in PROMPTS]
        saved = await stream(client, rows, console)
        console.print(Rule(f"read back from the database, {_since(began)}", style="dim"))
        kept = True
        for row, job in zip(rows, saved, strict=True):
            attempts = await client.store.jobs.attempts(job.id)
            promised = as_promised(row, job, attempts)
            console.print(verdict(row, job, attempts, promised))
            kept = kept and promised
    return kept


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.0f} s after the start"


def main() -> int:
    """Show the demo."""
    normal = os.environ.get("DELTAWORKS_HOME")
    home = (Path(normal) if normal else user_state_path("deltaworks")) / "demo"
    for name in [name for name in os.environ if name.startswith(("DELTAWORKS_", "OPENAI_"))]:
        del os.environ[name]
    os.environ["DELTAWORKS_HOME"] = str(home.absolute())
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    with sentences_for_errors():
        joining = joining_worker(settings.load())
        return 0 if asyncio.run(demonstrate(joining, console)) else 1


if __name__ == "__main__":
    sys.exit(main())
