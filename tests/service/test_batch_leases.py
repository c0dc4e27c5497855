"""Long work at batches: its lease is kept as long as it takes, left where it cannot be done, and
other batches are tended meanwhile.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from models import BatchStatus
from tests.batches import BODY, CHAT, batch, begun, rows_of, settled
from tests.service.conftest import OpenStore
from tests.wire import until
from worker.batch.service import Batches
from worker.catalog import Catalog, Upstream
from worker.channel.log import Log
from worker.files import Storage
from worker.settings import Settings
from worker.store import Store

CATALOG = Catalog((Upstream(name="a", base_url="http://a", models=("sim",)),))
LEASE_S = 1.0
LINE = {"custom_id": "one", "method": "POST", "url": CHAT, "body": BODY}


def batches_of(
    store: Store, log: Log, folder: Path, woken: "asyncio.Queue[str] | None" = None
) -> Batches:
    async def wake(ids: Sequence[str]) -> bool:
        for id in ids:
            if woken is not None:
                woken.put_nowait(id)
        return True

    settings = Settings(home=folder, lease_s=LEASE_S, renew_s=LEASE_S / 4)
    storage = Storage(f"file://{folder}")
    return Batches(store, log, storage, CATALOG, settings, wake)


async def test_a_batch_is_kept_while_its_storage_is_slower_than_a_lease(
    open_store: OpenStore, log: Log, tmp_path: Path
) -> None:
    us, them = open_store("us"), open_store("them")
    os.mkfifo(tmp_path / "file-slow")  # gives nothing as long as nobody writes
    mine = await us.batches.add(batch(input_file_id="file-slow"))
    batches = batches_of(us, log, tmp_path)
    working = asyncio.create_task(batches.run())
    batches.look()

    async def is_taken() -> bool:
        return (await us.batches.get(mine.id)).lease_owner == "us"

    await until(is_taken)
    over = asyncio.get_running_loop().time() + 3 * LEASE_S
    taken = None
    while taken is None and asyncio.get_running_loop().time() < over:
        taken = await them.intake.take(LEASE_S)
    await asyncio.to_thread((tmp_path / "file-slow").write_bytes, msgspec.json.encode(LINE) + b"\n")
    assert taken is None

    async def runs() -> bool:
        return (await us.batches.get(mine.id)).status == BatchStatus.IN_PROGRESS

    await until(runs)
    working.cancel()
    await asyncio.wait([working])


async def test_a_batch_whose_file_cannot_be_read_holds_up_no_other(
    open_store: OpenStore, log: Log, tmp_path: Path
) -> None:
    us = open_store("us")
    (tmp_path / "file-broken").mkdir()  # no file, so that it cannot be read, and is not missing
    (tmp_path / "file-good").write_bytes(msgspec.json.encode(LINE) + b"\n")
    broken = await us.batches.add(batch(input_file_id="file-broken"))
    good = await us.batches.add(batch(input_file_id="file-good"))
    batches = batches_of(us, log, tmp_path)
    working = asyncio.create_task(batches.run())

    async def runs() -> bool:
        batches.look()
        return (await us.batches.get(good.id)).status == BatchStatus.IN_PROGRESS

    await until(runs)
    assert (await us.batches.get(broken.id)).status == BatchStatus.VALIDATING
    working.cancel()
    await asyncio.wait([working])


async def test_other_batches_are_cancelled_while_a_file_does_not_come(
    open_store: OpenStore, log: Log, tmp_path: Path
) -> None:
    us = open_store("us")
    other = await begun(us, 3)
    os.mkfifo(tmp_path / "file-slow")
    slow = await us.batches.add(batch(input_file_id="file-slow"))
    batches = batches_of(us, log, tmp_path)
    working = asyncio.create_task(batches.run())
    batches.look()

    async def is_taken() -> bool:
        return (await us.batches.get(slow.id)).lease_owner == "us"

    async def is_cancelled() -> bool:
        return (await us.batches.get(other.id)).status == BatchStatus.FINALIZING

    async def have_both_gone_on() -> bool:
        found = await us.batches.get(slow.id), await us.batches.get(other.id)
        return [each.status for each in found] == [BatchStatus.IN_PROGRESS, BatchStatus.CANCELLED]

    await until(is_taken)
    await us.batches.cancel(other.id)
    batches.look()
    try:
        await until(is_cancelled)
        assert {job.state for job in await rows_of(us, other)} == {"cancelled"}
        assert (await us.batches.get(slow.id)).status == BatchStatus.VALIDATING
    finally:
        line = msgspec.json.encode(LINE) + b"\n"
        await asyncio.to_thread((tmp_path / "file-slow").write_bytes, line)
    await until(have_both_gone_on)  # one piece of long work after the other
    working.cancel()
    await asyncio.wait([working])


async def test_one_look_is_enough_from_a_file_to_its_dispatch_and_from_the_last_row_to_its_results(
    open_store: OpenStore, log: Log, tmp_path: Path
) -> None:
    us, woken = open_store("us"), asyncio.Queue[str]()
    (tmp_path / "file-one").write_bytes(msgspec.json.encode(LINE) + b"\n")
    mine = await us.batches.add(batch(input_file_id="file-one"))
    await us.holds.present(30, bulk_slots=1)
    batches = batches_of(us, log, tmp_path, woken)
    working = asyncio.create_task(batches.run())
    batches.look()
    async with asyncio.timeout(10):
        id = await woken.get()
    await settled(us, id)
    batches.look()

    async def has_ended() -> bool:
        return (await us.batches.get(mine.id)).status == BatchStatus.COMPLETED

    await until(has_ended)
    working.cancel()
    await asyncio.wait([working])
