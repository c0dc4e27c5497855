"""`doctor`: all checks, one line each, with the remedy for what is not well."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from functools import partial

from rich.console import Console
from rich.text import Text

from worker.cli.checks import CHECKS, Check, Finding, Level
from worker.cli.checks.upstreams import asked
from worker.cli.exits import ExitCode
from worker.cli.screen import print_json
from worker.errors import InvalidRequest
from worker.logs import log_as_command
from worker.store import complaint

STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def examine(ask: Sequence[str], *, ask_all: bool, json: bool) -> ExitCode:
    """Run every check and print what each found; FAILED where one of them failed.

    Args:
        ask: upstreams that are asked for a token as well, which may cost something.
        ask_all: all of them are.
        json: what is printed.

    Raises:
        InvalidRequest: no upstream has a name in `ask`.
    """
    log_as_command()
    checks = dict(CHECKS)
    if ask or ask_all:
        checks["answer"] = partial(asked, [] if ask_all else ask)
    findings = asyncio.run(_all_findings(checks, live=not json))
    failed = any(finding.level is Level.FAIL for finding in findings)
    if json:
        print_json({"ok": not failed, "findings": findings})
    return ExitCode.FAILED if failed else ExitCode.COMPLETED


async def _all_findings(checks: Mapping[str, Check], *, live: bool) -> list[Finding]:
    findings: list[Finding] = []
    for name, check in checks.items():
        try:
            found: Sequence[Finding] = await check()
        except InvalidRequest:
            raise
        except Exception as error:  # whatever it is, it is the finding
            said = complaint(error) or str(error) or type(error).__name__
            found = [Finding(name, Level.FAIL, said)]
        findings += found
        if live:
            _print(found)
    return findings


def _print(found: Sequence[Finding]) -> None:
    console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
    for finding in found:
        line = Text(f"{finding.level:5}", STYLES[finding.level])
        line.append(f"{finding.name:11}{finding.said.splitlines()[0]}", "default")
        console.print(line)
        if finding.remedy:
            console.print(Text(f"{'':16}{finding.remedy}", "dim"))
