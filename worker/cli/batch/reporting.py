"""`batch report`: what became of a batch, in the terminal or as a page."""

import asyncio
from pathlib import Path

from rich.console import Console

from worker.batch.report.figures import Figures
from worker.batch.report.gathering import gather
from worker.batch.report.page import page
from worker.batch.report.terminal import print_report
from worker.cli.batch.finding import found
from worker.cli.batch.saving import written
from worker.logs import log_as_command
from worker.runtime import open_client_runtime


def report(id: str, html: Path | None) -> None:
    """Print the report, or write it as a page.

    Raises:
        InvalidRequest: the page cannot be written there.
        DeltaworksError: there is no such batch.
    """
    log_as_command()
    figures = asyncio.run(_gather(id))
    if html is None:
        print_report(figures, Console())
        return
    with written(html, "--html") as file:
        file.write(page(figures).encode())


async def _gather(id: str) -> Figures:
    async with open_client_runtime() as client:
        return await gather(client.store, await found(client, id))
