"""`deltaworks policy`: what happens after an error, as a table and for one error."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import Json

if TYPE_CHECKING:
    from worker.policy import Row

app = typer.Typer(no_args_is_help=True, help="What happens after an upstream's error.")

COLUMNS = ("errors", "action", "at most", "cool-down", "fallback", "written in")
File = Annotated[
    Path | None,
    typer.Option("--file", "-f", envvar="DELTAWORKS_POLICY_FILE", help="On top of the packaged."),
]


@app.command()
def show(file: File = None, json: Json = False) -> None:
    """Show the policy: the packaged table with your file on top."""
    from worker.cli.screen import print_json
    from worker.cli.tables import print_rows
    from worker.policy import Policy

    rows = list(Policy.load(file).rows.values())
    if json:
        print_json([row.document() for row in rows])
    else:
        print_rows(COLUMNS, map(_cells, rows), map(_line, rows), bare=True)


@app.command()
def explain(  # noqa: PLR0913, PLR0917 - one for each option
    status: Annotated[int, typer.Option(min=100, max=599, help="The response's HTTP status.")],
    body: Annotated[str, typer.Option(help="Its body; - is stdin.")] = "",
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="Of the response. Repeatable.")
    ] = None,
    host: Annotated[str, typer.Option(help="The upstream's host, for its peculiarities.")] = "",
    lane: Annotated[str, typer.Option(metavar="interactive|bulk")] = "interactive",
    failures: Annotated[int, typer.Option(min=0, help="Charged to the job before.")] = 0,
    throttles: Annotated[int, typer.Option(min=0, help="Charged to the job before.")] = 0,
    file: File = None,
    json: Json = False,
) -> None:
    """Explain what would happen after a response: the wait, what it costs, and by which row."""
    from worker.classify import classify_response
    from worker.cli.screen import print_json, printable
    from worker.errors import InvalidRequest
    from worker.policy import Budgets, Policy
    from worker.policy import explain as explained

    if lane not in ("interactive", "bulk"):
        raise InvalidRequest("--lane", f"is {lane[:40]!r}", "use interactive or bulk")
    policy = Policy.load(file)
    content = sys.stdin.buffer.read() if body == "-" else body.encode(errors="surrogateescape")
    error = classify_response(status, _headers(header or []), content, host=host)
    explanation = explained(policy, error, Budgets(failures, throttles), lane)
    if json:
        print_json(explanation.document())
    else:
        typer.echo("\n".join(printable(sentence) for sentence in explanation.sentences()))


def _headers(lines: list[str]) -> dict[str, str]:
    from worker.errors import InvalidRequest

    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            problem = f"is {line[:40]!r}, which has no name and value"
            raise InvalidRequest("--header", problem, "write it like 'retry-after: 20'")
        headers[name.strip()] = value.strip()
    return headers


def _cells(row: "Row") -> tuple[str, ...]:
    retried = row.action == "retry"
    return (
        row.name,
        _action(row),
        f"{row.most} {row.counts}" if retried and row.counts != "nothing" else "",
        row.cool_down if row.cool_down != "none" else "",
        "yes" if row.fallback else "",
        f"{Path(row.origin.file or 'packaged').name}:{row.origin.line}",
    )


def _line(row: "Row") -> str:
    terms = " ".join(f"{name}={_plain(value)}" for name, value in row.terms().items())
    return f"{row.name} {terms} ({row.origin})"


def _action(row: "Row") -> str:
    if row.action == "retry":
        return f"retry {row.base_s:g}-{row.cap_s:g} s"
    return f"suspend {row.suspend_s:g} s" if row.suspend_s else row.action


def _plain(value: object) -> str:
    """A term as TOML has it, but for the quotes."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
