"""The commands of `deltaworks batch` and their options."""

from pathlib import Path
from typing import Annotated

import typer

from worker.cli.options import Json

app = typer.Typer(no_args_is_help=True, help="Many jobs from one file.")

BatchId = Annotated[
    str, typer.Argument(metavar="BATCH", help="The batch's id, or how it begins if that is plain.")
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        metavar="X", help="It pauses before a row is expected to exceed it, by your prices."
    ),
]
MaxFailedRatio = Annotated[
    float | None, typer.Option(metavar="X", help="It is paused if more than this share fails.")
]


@app.command()
def submit(  # noqa: PLR0913, PLR0917 - one for each option
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="OpenAI's JSONL (so named, or its first line begins with {), or text with one "
            "prompt a line; - is stdin.",
        ),
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Of prompts. Else DELTAWORKS_MODEL.")
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", "-s", help="A system message before each prompt.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="Of each request. Repeatable."),
    ] = None,
    template: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A request body in JSON; {prompt} in it is the prompt."),
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="FILE is text, whatever it is like.")
    ] = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="FILE is JSONL.")] = False,
    endpoint: Annotated[
        str | None, typer.Option(help="Default: of the first line; for text the chat's.")
    ] = None,
    completion_window: Annotated[
        str, typer.Option(metavar="TIME", help="What has not run by then expires.")
    ] = "24h",
    run_window: Annotated[
        str | None, typer.Option(metavar="HOURS", help="Like 'mon-fri 22:00-06:00 Europe/Berlin'.")
    ] = None,
    priority: Annotated[int, typer.Option(help="-100 to 100; higher is sooner.")] = 0,
    max_cost: MaxCost = None,
    max_failed_ratio: MaxFailedRatio = None,
    metadata: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Kept with the batch. Repeatable."),
    ] = None,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="Is told when the batch has ended.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on like `batch watch`.")] = False,
    json: Json = False,
) -> None:
    """Queue a file of requests, or of prompts, and print the batch's id."""
    from worker.cli.batch import submitting
    from worker.cli.batch.wish import Wish

    wish = Wish(
        file=file,
        text=text,
        jsonl=jsonl,
        model=model,
        system=system,
        params=param or [],
        template=template,
        endpoint=endpoint,
        metadata=metadata or [],
        max_cost=max_cost,
        max_failed_ratio=max_failed_ratio,
        terms={
            "completion_window": completion_window,
            "run_window": run_window,
            "priority": priority,
            "webhook": webhook,
        },
    )
    raise SystemExit(submitting.submit(wish, watch=watch, json=json))


@app.command("list")
def list_batches(
    limit: Annotated[int, typer.Option(min=1, max=1_000, help="The newest so many.")] = 20,
    json: Json = False,
) -> None:
    """List batches, the newest first."""
    from worker.cli.batch import showing

    showing.show_all(limit, json=json)


@app.command()
def status(batch: BatchId, json: Json = False) -> None:
    """Show how far a batch is, what it was asked for by, and what is wrong with its file."""
    from worker.cli.batch import showing

    showing.show(batch, json=json)


@app.command()
def watch(
    batch: BatchId,
    json: Json = False,
    on_end: Annotated[
        str | None,
        typer.Option(
            metavar="COMMAND", help="For the shell, at the end; see DELTAWORKS_BATCH_* in it."
        ),
    ] = None,
) -> None:
    """Watch a batch to its end; the exit code tells the outcome (3: some rows have failed)."""
    from worker.cli.batch import watching

    raise SystemExit(watching.watch(batch, on_end, json=json))


@app.command()
def results(
    batch: BatchId,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of what succeeded. Default: -, stdout.")
    ] = None,
    errors: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Of what failed; - is stdout.")
    ] = None,
) -> None:
    """Write the results so far, in the order of the batch's file, rows run again among them."""
    from worker.cli.batch import saving

    saving.save(batch, output, errors)


@app.command()
def report(
    batch: BatchId,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page instead.")
    ] = None,
) -> None:
    """Print what became of a batch: speed, failures, retries, cost, the slowest rows."""
    from worker.cli.batch import reporting

    reporting.report(batch, html)


@app.command()
def pause(batch: BatchId, json: Json = False) -> None:
    """Begin no more of a batch's rows; those that run go on."""
    from worker.cli.batch import steering

    steering.pause(batch, json=json)


@app.command()
def resume(
    batch: BatchId,
    max_cost: MaxCost = None,
    max_failed_ratio: MaxFailedRatio = None,
    json: Json = False,
) -> None:
    """Have a paused batch go on, with other limits where they are given."""
    from worker.cli.batch import steering

    steering.resume(batch, max_cost, max_failed_ratio, json=json)


@app.command()
def cancel(batch: BatchId, json: Json = False) -> None:
    """Cancel what has not ended of a batch."""
    from worker.cli.batch import steering

    steering.cancel(batch, json=json)


@app.command()
def retry(
    batch: BatchId,
    category: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only what failed so, like timeout. Repeatable."),
    ] = None,
    json: Json = False,
) -> None:
    """Run failed rows once more; print the id of the batch that does: itself, or a new one."""
    from worker.cli.batch import steering

    steering.retry(batch, category or None, json=json)
