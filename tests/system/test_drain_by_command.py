"""Ending workers by command: those that are named, with their grace."""

import asyncio
from pathlib import Path

import pytest

from tests.commands import Deltaworks
from tests.stack import Stack
from tests.system.test_drain import exited, streaming
from tests.upstreams import submitted
from tests.wire import until
from worker.cli.fleet import drain
from worker.errors import InvalidRequest

ENDLESS = "sim?tokens=3000&rate=30"
QUICK = {"DELTAWORKS_RENEW_S": "0.5", "DELTAWORKS_SWEEP_S": "0.5"}


@pytest.fixture
def database_url(postgres_url: str) -> str:
    """PostgreSQL: what is peculiar to a database is tested of the store."""
    return postgres_url


async def test_a_worker_is_drained_by_command_and_its_job_goes_on_elsewhere(stack: Stack) -> None:
    deltaworks = Deltaworks(Path(stack.env["DELTAWORKS_HOME"]), **stack.env)
    old = stack.sweeping_worker(DELTAWORKS_GRACE_S="0", **QUICK)
    async with stack.reader() as reader:
        id = await submitted(stack, reader, ENDLESS)
        await streaming(reader, id)
        (shown,) = await reader.store.processes.all()
        name = shown.owner.rpartition(":")[0]
        assert name.endswith(f":{old.pid}") and (shown.alive, shown.jobs) == (True, 1)
        new = stack.sweeping_worker(DELTAWORKS_GRACE_S="60", **QUICK)

        drained = await asyncio.to_thread(deltaworks, "drain", name, "--wait", "--json")
        assert drained.json() == {"told": [shown.owner], "left": []}
        code, _ = await exited(old)
        assert code == 0 and "told to end by command" in old.printed()

        async def is_taken_over() -> bool:
            return (await reader.store.jobs.get(id)).attempt == 2

        await until(is_taken_over)
        assert (await reader.store.jobs.get(id)).crashes == 0
    assert new.popen.poll() is None


@pytest.mark.parametrize(("names", "everyone"), [([], False), (["host:1"], True)])
def test_nobody_is_drained_by_a_slip(names: list[str], everyone: bool) -> None:
    with pytest.raises(InvalidRequest, match="or say --all"):
        drain(names, everyone=everyone, wait=False, timeout_s=None, json=False)
