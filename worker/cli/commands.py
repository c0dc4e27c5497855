"""The commands and their options. Each imports the room that does its work when it runs."""

from pathlib import Path
from typing import Annotated

import typer

from worker import __version__
from worker.cli import batch, care, policy
from worker.cli.options import Json

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    # Our own `sentences_for_errors` comes after; and a traceback must not show local variables.
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A background worker for streamed completions: queue prompts, watch every delta live, "
    "keep the text. What is not configured (DELTAWORKS_*, OPENAI_*) is started for you.",
    epilog="Exit codes: 0 completed, 1 failed, 2 usage, 3 incomplete, 4 cancelled, 5 detached.",
)
_JOBS, _PROCESSES = "Jobs", "Processes"

upstreams = typer.Typer(help="Where requests go, what stands against it, and lifting that.")
keys = typer.Typer(no_args_is_help=True, help="Who may use the gateway.")
app.add_typer(batch.app, name="batch", rich_help_panel=_JOBS)
app.add_typer(keys, name="keys", rich_help_panel=_PROCESSES)
app.add_typer(policy.app, name="policy", rich_help_panel=_PROCESSES)
app.add_typer(upstreams, name="upstreams", rich_help_panel=_PROCESSES)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job's id.")]
Prompt = Annotated[str | None, typer.Argument(metavar="PROMPT", show_default=False)]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Else DELTAWORKS_MODEL.")]
System = Annotated[str | None, typer.Option("--system", "-s", help="A system message before it.")]
File = Annotated[
    Path | None, typer.Option("--file", "-f", help="Read the prompt from a file; - is stdin.")
]
Param = Annotated[
    list[str] | None,
    typer.Option("--param", "-p", metavar="NAME=VALUE", help="Any request parameter. Repeatable."),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="debug|info|warning|error",
        help="Else DELTAWORKS_LOG_LEVEL, or info.",
    ),
]
ReadyFile = Annotated[
    Path | None, typer.Option(help="Created when it takes work, removed when it stops to.")
]
LaneName = Annotated[
    str | None, typer.Option("--lane", metavar="interactive|bulk", help="Default: interactive.")
]
Key = Annotated[
    str | None,
    typer.Option("--idempotency-key", metavar="KEY", help="The same key is the same job."),
]
Metadata = Annotated[
    list[str] | None,
    typer.Option("--metadata", metavar="NAME=VALUE", help="Kept with the job. Repeatable."),
]


@app.command(rich_help_panel=_JOBS)
def run(  # noqa: PLR0913, PLR0917 - one for each option
    prompt: Prompt = None,
    model: Model = None,
    system: System = None,
    file: File = None,
    param: Param = None,
    lane: LaneName = None,
    idempotency_key: Key = None,
    metadata: Metadata = None,
    json: Json = False,
) -> None:
    """Run a prompt and stream its answer; the exit code tells the outcome."""
    from worker.cli import streaming
    from worker.cli.document import Request

    request = Request(
        prompt=prompt,
        file=file,
        model=model,
        system=system,
        params=param or [],
        lane=lane,
        idempotency_key=idempotency_key,
        metadata=metadata or [],
    )
    raise SystemExit(streaming.run(request, json=json))


@app.command(rich_help_panel=_JOBS)
def submit(  # noqa: PLR0913, PLR0917 - one for each option
    prompt: Prompt = None,
    model: Model = None,
    system: System = None,
    file: File = None,
    param: Param = None,
    lane: LaneName = None,
    idempotency_key: Key = None,
    metadata: Metadata = None,
    scheduled_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Not before, like 2030-01-31T22:00:00Z.")
    ] = None,
    deadline_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The job has failed if it has not ended.")
    ] = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A whole job request in JSON; - is stdin.")
    ] = None,
    json: Json = False,
) -> None:
    """Queue a prompt and print its job's id."""
    from worker.cli import jobs
    from worker.cli.document import Request

    asked = Request(
        prompt=prompt,
        file=file,
        model=model,
        system=system,
        params=param or [],
        lane=lane,
        idempotency_key=idempotency_key,
        metadata=metadata or [],
        scheduled_at=scheduled_at,
        deadline_at=deadline_at,
        whole=request,
    )
    jobs.submit(asked, json=json)


@app.command(rich_help_panel=_JOBS)
def follow(
    job: JobId,
    after: Annotated[
        str | None, typer.Option(metavar="CURSOR", help="Only what comes after this event's id.")
    ] = None,
    json: Json = False,
) -> None:
    """Stream a job's output, from the start or from a cursor, to its end."""
    from worker.cli import streaming

    raise SystemExit(streaming.follow(job, after, json=json))


@app.command(rich_help_panel=_JOBS)
def show(job: JobId, json: Json = False) -> None:
    """Show a job, its text so far and its attempts."""
    from worker.cli import jobs

    jobs.show(job, json=json)


@app.command(rich_help_panel=_JOBS)
def cancel(job: JobId, json: Json = False) -> None:
    """Cancel a job unless it has ended."""
    from worker.cli import jobs

    raise SystemExit(jobs.cancel(job, json=json))


@app.command(rich_help_panel=_PROCESSES)
def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Of the gateway; 0 is any free one.")
    ] = 8080,
    json: Json = False,
) -> None:
    """Run the whole stack until Ctrl-C, embedded where nothing is configured."""
    from worker.cli import stack

    raise SystemExit(stack.up(port, json=json))


@app.command(rich_help_panel=_PROCESSES)
def worker(
    lane: Annotated[
        list[str] | None,
        typer.Option(metavar="interactive|bulk", help="Serve this lane only. Default: both."),
    ] = None,
    streams: Annotated[
        int | None, typer.Option(min=1, max=10_000, help="Jobs at once. Else DELTAWORKS_STREAMS.")
    ] = None,
    beat: Annotated[bool, typer.Option("--beat", help="Tick for the sweep, too.")] = False,
    log_level: LogLevel = None,
    ready_file: ReadyFile = None,
) -> None:
    """Run jobs until SIGTERM, which lets those that run come to their end."""
    from worker.cli import processes

    raise SystemExit(processes.worker(lane or [], streams, beat, log_level, ready_file))


@app.command(rich_help_panel=_PROCESSES)
def beat(
    log_level: LogLevel = None,
    ready_file: Annotated[Path | None, typer.Option(help="Touched at each tick.")] = None,
) -> None:
    """Tick for the sweep. One is enough; several do no harm."""
    from worker.cli import processes

    processes.beat(log_level, ready_file)


@app.command(
    rich_help_panel=_PROCESSES,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def simulator(context: typer.Context) -> None:
    """Serve made-up answers like an OpenAI-compatible upstream; --help lists its options."""
    from worker.simulator.__main__ import main

    main(context.args)


@upstreams.callback(invoke_without_command=True)
def show_upstreams(context: typer.Context, json: Json = False) -> None:
    """Show the upstreams: their state, why they are suspended and until when."""
    from worker.cli import upstreams as room

    if context.invoked_subcommand is None:
        raise SystemExit(room.show(json=json))


@upstreams.command()
def resume(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The upstream's name.")],
    json: Json = False,
) -> None:
    """Lift all suspensions of an upstream."""
    from worker.cli import upstreams as room

    raise SystemExit(room.resume(name, json=json))


@app.command(rich_help_panel=_PROCESSES)
def gateway(
    host: Annotated[str, typer.Option("--host", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535)] = 8080,
    keyless: Annotated[
        bool, typer.Option("--no-keys", help="Let everybody on this machine in. Loopback only.")
    ] = False,
    log_level: LogLevel = None,
    ready_file: ReadyFile = None,
) -> None:
    """Serve the HTTP API, OpenAI's and our own, until SIGTERM."""
    from worker.cli import gateway as room

    room.serve(host, port, without_keys=keyless, log_level=log_level, ready_file=ready_file)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="For people to know it by.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Whose jobs it opens.")] = "default",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="jobs:read, jobs:write. Default: both.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Models it may use; gpt-4o* is many.")
    ] = None,
    per_minute: Annotated[
        int | None, typer.Option("--per-minute", min=1, help="Requests a minute; else any.")
    ] = None,
    days: Annotated[float | None, typer.Option("--days", help="Until it expires.")] = None,
    json: Json = False,
) -> None:
    """Make a key and print it: this once, it is not kept."""
    from worker.cli import keys as room

    wish = room.Wish(
        name=name, tenant=tenant, scopes=scope, models=model, per_minute=per_minute, days=days
    )
    raise SystemExit(room.create(wish, json=json))


@keys.command("list")
def list_keys(json: Json = False) -> None:
    """Print every key, without its secret."""
    from worker.cli import keys as room

    raise SystemExit(room.show(json=json))


@keys.command()
def revoke(
    id: Annotated[str, typer.Argument(metavar="KEY", help="The key's id, as listed.")],
    json: Json = False,
) -> None:
    """Revoke a key: gateways refuse it within fifteen seconds."""
    from worker.cli import keys as room

    raise SystemExit(room.revoke(id, json=json))


app.add_typer(care.app)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options of no command."""
    if version:
        typer.echo(f"deltaworks {__version__}")
        raise typer.Exit
