"""Processes as an operator sees them: who holds what, who is silent, who is told to end."""

from tests.jobs import claimed, queue
from tests.service.conftest import OpenStore


async def test_each_process_is_shown_with_what_it_holds(open_store: OpenStore) -> None:
    us, them, dead = open_store("us"), open_store("them"), open_store("dead")
    await us.holds.present(30, 450)
    await them.holds.present(30)
    await dead.holds.present(-1)
    for number in range(3):
        await claimed(us, await queue(us, prompt=str(number)))
    found = {each.owner: each for each in await us.processes.all()}
    assert list(found) == ["dead", "them", "us"]
    assert [each.alive for each in found.values()] == [False, True, True]
    assert [each.jobs for each in found.values()] == [0, 0, 3]
    assert found["us"].bulk_slots == 450 and found["us"].drain_at is None
    await us.holds.leave_for_good()
    assert [each.owner for each in await them.processes.all()] == ["dead", "them"]


async def test_who_is_told_to_end_hears_of_it_at_its_next_renewal(open_store: OpenStore) -> None:
    us, them = open_store("us"), open_store("them")
    assert not await us.holds.present(30)
    assert not await them.holds.present(30)
    await them.processes.drain(["us", "nobody"])
    told_at = next(each.drain_at for each in await us.processes.all() if each.owner == "us")
    assert await us.holds.present(30) and not await them.holds.present(30)
    await them.processes.drain(["us"])
    assert [each.drain_at for each in await us.processes.all()] == [None, told_at]
