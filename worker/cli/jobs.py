"""`submit`, `show` and `cancel`: one question, one answer."""

import asyncio
import sys
from collections.abc import Sequence

from models import Attempt, Job, JobState
from worker import settings
from worker.cancellation import cancel as cancel_job
from worker.cli.attempts import print_attempts
from worker.cli.default_model import default_model
from worker.cli.document import Request, document
from worker.cli.exits import ExitCode
from worker.cli.screen import print_json, printable
from worker.cli.summary import why
from worker.job_object import job_object, live_job_object
from worker.logs import log_as_command
from worker.runtime import Client, open_client_runtime

# Of the job object, what `show` prints as one line each where it is set.
SHOWN = (
    "state", "model", "upstream", "lane", "attempt", "finish_reason", "cost", "cursor",
    "created_at", "scheduled_at", "started_at", "first_delta_at", "finished_at", "deadline_at",
)  # fmt: skip


def submit(request: Request, *, json: bool) -> None:
    """Queue the request; its id, or the job object, to standard output.

    Raises:
        DeltaworksError: it could not be submitted.
    """
    asked = document(request)
    log_as_command()
    job = asyncio.run(_submit(asked))
    if json:
        print_json(job_object(job))
    else:
        sys.stdout.write(f"{job.id}\n")
    if settings.load().embedded_redis:
        sys.stderr.write("it runs while `deltaworks up`, or `follow` of a job, does\n")


def show(id: str, *, json: bool) -> None:
    """Print the job; while it runs, with its text so far.

    Raises:
        DeltaworksError: there is no such job.
    """
    log_as_command()
    shown, attempts = asyncio.run(_look_up(id))
    if json:
        print_json(shown)
    else:
        _print_job(shown, attempts)


def cancel(id: str, *, json: bool) -> ExitCode:
    """Cancel the job; say who won.

    Raises:
        DeltaworksError: there is no such job.
    """
    log_as_command()
    job, cancelled = asyncio.run(_cancel(id))
    if json:
        print_json(job_object(job))
    else:
        was = "" if cancelled else "had already ended: "
        sys.stdout.write(f"{job.id} {was}{job.state}\n")
    is_cancelled = job.state == JobState.CANCELLED
    return ExitCode.COMPLETED if is_cancelled else ExitCode.FAILED


async def with_model(client: Client, asked: dict[str, object]) -> dict[str, object]:
    """The job request, with the default model if it names none.

    Raises:
        InvalidRequest: there is no default.
    """
    body = asked.get("request")
    if not isinstance(body, dict) or "model" in body:
        return asked
    model = await default_model(client.catalog, client.settings)
    return {**asked, "request": {**body, "model": model}}


async def _submit(asked: dict[str, object]) -> Job:
    async with open_client_runtime() as client:
        return await client.submission.submit(await with_model(client, asked))


async def _look_up(id: str) -> tuple[dict[str, object], list[Attempt]]:
    async with open_client_runtime() as client:
        job = await client.store.jobs.get(id)
        shown = await live_job_object(job, client.log)
        return shown, await client.store.jobs.attempts(id)


async def _cancel(id: str) -> tuple[Job, bool]:
    async with open_client_runtime() as client:
        return await cancel_job(id, client.store.jobs, client.log, client.settings, client.catalog)


def _print_job(shown: dict[str, object], attempts: Sequence[Attempt]) -> None:
    lines = [
        f"{name:15} {_plain(shown[name])}" for name in ("id", *SHOWN) if shown[name] is not None
    ]
    error = shown["error"]
    if isinstance(error, dict):
        cause = why(error["category"], error["code"], error["status"])
        lines.append(f"{'error':15} {cause}: {error['message']}")
    sys.stdout.write(printable("\n".join(lines)) + "\n")
    print_attempts(attempts)
    if text := shown["output_text"]:
        sys.stdout.write(f"\n{printable(str(text))}\n")


def _plain(value: object) -> str:
    # Costs can be millionths, and sums of such: no exponents, no sixteen digits.
    if isinstance(value, float):
        return f"{value:.8f}".rstrip("0").rstrip(".")
    return str(value)
