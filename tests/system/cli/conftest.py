"""A home in which the stack runs for all tests of a module, so that commands need not start it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import Deltaworks, read_line
from tests.processes import PATIENCE_S, await_nothing_left, kill_processes_naming


@pytest.fixture(scope="module")
def deltaworks() -> Iterator[Deltaworks]:
    """The command, beside a `deltaworks up` with nothing configured."""
    home = Path(tempfile.mkdtemp(prefix="dw-cli-", dir="/tmp"))
    command = Deltaworks(home)
    try:
        with command.start("up", "--port", "0", "--json") as up:
            assert read_line(up).startswith(b'{"home"')
            yield command
            up.terminate()
            assert up.wait(PATIENCE_S) == 0
        await_nothing_left(home)
    finally:
        kill_processes_naming(str(home))
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """An empty database: the command line has nothing of its own for each kind."""
    return f"sqlite:///{tmp_path / 'jobs.db'}"
