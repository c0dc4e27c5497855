"""Batches whose workers and gateway are killed and whose Redis is wiped: each row ends once."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from models import Job
from tests.faults import batch_checker, batching
from tests.faults.batch_checker import Outcome
from tests.faults.batching import Door, Line, count, ended, look, mixed, outcome, seen, wipe
from tests.faults.load import Load, loading
from tests.faults.scene import Scene
from tests.wire import until
from worker.batch.limits import PauseReason

ROWS, MANY = 300, 3_000
# Few slots, so that the batch is not over before all has befallen it.
STREAMS = "25"

# Ten dear rows, or some more cheap ones.
CAP, TOKEN = 10.0, 0.01
CHEAP_TOKENS, DEAR_TOKENS = 2, 100
CHEAP = f"sim?tokens={CHEAP_TOKENS}&rate=0&ttft=0"
DEAR = f"sim?tokens={DEAR_TOKENS}&rate=200&ttft=0.05"
PRICED = """
[[upstream]]
name = "priced"
base_url = "{}"
[upstream.prices."*"]
input = 0.0
output = 10_000.0
"""


async def run(scene: Scene, *, again: bool) -> Outcome:
    """A batch that everything befalls; `again`: rows that fail are tried once more meanwhile."""
    scene.stack.env["DELTAWORKS_STREAMS"] = STREAMS
    await scene.employ(2)
    lines = mixed(ROWS, scene.random)
    async with Door(scene) as door, loading(scene.stack, scene.random) as load:
        id = await door.create(load, lines)
        await seen(load, id, lambda batch: batch.status == "in_progress")
        befalls = ["worker"] * 3 + ["gateway", "wipe"]
        scene.random.shuffle(befalls)
        for what in befalls:
            await asyncio.sleep(scene.random.uniform(0.2, 0.8))
            await befall(scene, door, what)
            if again:
                await try_again(door, id)
        await ended(load, id)
        return await judged(scene, door, load, id, lines)


async def befall(scene: Scene, door: Door, what: str) -> None:
    if what == "worker":
        await scene.kill()
    elif what == "gateway":
        await door.kill()
    else:
        wipe(scene)


async def try_again(door: Door, id: str) -> None:
    """Have the rows run once more that have failed by now, if any has; not in a batch of their own,
    as they would be after its end.
    """
    if (await door.ask("GET", f"/v1/batches/{id}")).json()["status"] != "in_progress":
        return
    answer = await door.ask("POST", f"/v1/batches/{id}/retry")
    assert answer.status_code in {200, 409}, answer.text


async def judged(
    scene: Scene, door: Door, load: Load, id: str, lines: Sequence[Line], status: str = "completed"
) -> Outcome:
    """What the batch came to, which all checks find to be right."""
    found = await outcome(scene, door, load, id, lines, status)
    scene.judge(found.evidence)
    amiss = batch_checker.violations(found)
    assert not amiss, "\n".join([f"seed {scene.figures.seed}", *amiss[:20]])
    return found


async def test_each_row_ends_once_whatever_is_killed_or_wiped(on_sqlite: Scene) -> None:
    found = await run(on_sqlite, again=False)
    assert on_sqlite.figures.kills == 4
    assert all(job.generation == 0 for job in found.jobs)


async def test_rows_that_are_tried_again_meanwhile_count_once(on_postgres: Scene) -> None:
    found = await run(on_postgres, again=True)
    assert any(job.superseded for job in found.jobs)


async def test_rows_and_files_are_whole_whoever_dies_over_them(on_postgres: Scene) -> None:
    scene = on_postgres
    await scene.employ(2)
    lines = [Line(f"row-{number}", "sim-fast?tokens=3") for number in range(MANY)]
    async with Door(scene) as door, loading(scene.stack, scene.random) as load:
        creating = asyncio.create_task(
            door.create(load, lines, mixed_models=False, run_window=batching.closed())
        )
        await until(lambda: count_of(load))
        id = await creating
        await kill_all(scene)
        assert (await look(load, id)).status == "validating" and await count(load) < MANY
        await seen(load, id, lambda batch: batch.status == "in_progress")
        assert await count(load, Job.batch_id == id) == MANY
        assert (await door.ask("POST", f"/v1/batches/{id}/cancel")).status_code == 200
        await seen(load, id, lambda batch: batch.status == "finalizing")
        await until(lambda: drafts(scene))
        await kill_all(scene)
        assert (await look(load, id)).status == "finalizing"
        await ended(load, id)
        found = await judged(scene, door, load, id, lines, "cancelled")
    assert len(found.errors) == MANY and not found.output


async def test_a_spending_cap_is_kept_though_many_run_and_cheap_rows_end_first(
    on_sqlite: Scene,
) -> None:
    scene = on_sqlite
    scene.lease(20)
    file = scene.stack.folder / "upstreams.toml"
    file.write_text(PRICED.format(scene.stack.base_url))
    scene.stack.env["DELTAWORKS_UPSTREAMS_FILE"] = str(file)
    await scene.employ(1, DELTAWORKS_STREAMS="63")  # four of five are for batches
    cheap = [Line(f"cheap-{n}", CHEAP, max_tokens=CHEAP_TOKENS) for n in range(50)]
    dear = [Line(f"dear-{n}", DEAR, max_tokens=DEAR_TOKENS) for n in range(100)]
    lines = cheap + dear
    async with Door(scene) as door, loading(scene.stack, scene.random) as load:
        id = await door.create(load, lines, max_cost=CAP)
        paused = await seen(load, id, lambda batch: batch.paused_at is not None)
        assert (paused.pause_reason, await count(load, Job.state == "in_progress")) == (
            PauseReason.MAX_COST,
            0,
        )
        real = sum(each["deltas"] for each in scene.stack.record()) * TOKEN
        told = (await door.ask("GET", f"/v1/batches/{id}")).json()["cost"]
        sys.stdout.write(f"max_cost {CAP:g}: {real:g} were served, the batch says {told:g}\n")
        assert 0 < real <= CAP + DEAR_TOKENS * TOKEN
        assert round(told, 9) == round(real, 9)
        assert (await door.ask("POST", f"/v1/batches/{id}/cancel")).status_code == 200
        await ended(load, id)
        await judged(scene, door, load, id, lines, "cancelled")


async def test_an_upload_whose_gateway_dies_leaves_nothing_that_stays(on_sqlite: Scene) -> None:
    files = on_sqlite.stack.folder / "home" / "files"
    async with Door(on_sqlite) as door:

        async def broken_off() -> AsyncIterator[bytes]:
            head = 'content-disposition: form-data; name="file"; filename="rows.jsonl"'
            yield f"--end\r\n{head}\r\n\r\n".encode() + b"x" * 1_000_000
            await until(lambda: has_drafts(files))
            await door.kill()
            yield b"x" * 1_000_000

        with suppress(httpx.TransportError):
            form = {"content-type": "multipart/form-data; boundary=end"}
            await door.client.post("/v1/files", content=broken_off(), headers=form)
        assert (await door.ask("GET", "/v1/files")).json()["data"] == []
    # What is left is a draft, which is removed after a day.
    assert endings(files) == [".part"]


async def has_drafts(files: Path) -> bool:
    return bool(endings(files))


def endings(files: Path) -> list[str]:
    """Of what lies in the folder, if there is one."""
    return [path.suffix for path in files.iterdir()] if files.is_dir() else []


async def count_of(load: Load) -> bool:
    return await count(load) > 0


async def drafts(scene: Scene) -> bool:
    """Whether a file of results is being written."""
    return any((scene.stack.folder / "home" / "files").glob("*error*.part"))


async def kill_all(scene: Scene) -> None:
    for worker in list(scene.workers):
        await scene.kill(worker)
