"""Batches whose workers and gateway are killed and whose Redis is wiped: each row ends once."""

import asyncio
from collections.abc import Sequence

from models import Job
from tests.faults import batch_checker, batching
from tests.faults.batch_checker import Outcome
from tests.faults.batching import Door, Line, count, ended, look, mixed, outcome, seen, wipe
from tests.faults.load import Load, loading
from tests.faults.scene import Scene
from tests.wire import until

ROWS, MANY = 600, 10_000
# Few slots, so that the batch is not over before all has befallen it.
STREAMS = "40"


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
    """Have the rows run once more that have failed by now, if any has."""
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


async def count_of(load: Load) -> bool:
    return await count(load) > 0


async def drafts(scene: Scene) -> bool:
    """Whether a file of results is being written."""
    return any((scene.stack.folder / "home" / "files").glob("*error*.part"))


async def kill_all(scene: Scene) -> None:
    for worker in list(scene.workers):
        await scene.kill(worker)
