"""Whose rows are released next: slots are shared by tenant, and among a tenant's batches.

Whoever has the fewest rows under way gets the next slot: among tenants first; of a tenant's
batches those of the highest priority before all others, and among them the same again. What is
under way stands in the database, so nothing has to be remembered from one dispatch to the next,
and a tenant that comes late does not wait for those before it to end.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct


class Wish(Struct, frozen=True):
    """A batch that may run more.

    Attributes:
        batch, tenant, priority: whose it is, and before whom.
        running: rows under way.
        most: how many more it may have.
    """

    batch: str
    tenant: str
    priority: int
    running: int
    most: int


def shares(wishes: Sequence[Wish], room: int, running: Mapping[str, int]) -> dict[str, int]:
    """How many rows of each batch are released, of so many in all.

    Args:
        wishes: at most one for each batch.
        room: slots that are free.
        running: rows under way by tenant, of batches without a wish, too.
    """
    tenants: dict[str, list[Wish]] = {}
    for wish in wishes:
        tenants.setdefault(wish.tenant, []).append(wish)
    wanted = {tenant: sum(wish.most for wish in own) for tenant, own in tenants.items()}
    parts = level(wanted, {tenant: running.get(tenant, 0) for tenant in tenants}, room)
    found: dict[str, int] = {}
    for tenant, own in tenants.items():
        found |= _among(own, parts[tenant])
    return found


def _among(wishes: Sequence[Wish], room: int) -> dict[str, int]:
    """A tenant's slots among its batches, the highest priority first."""
    found: dict[str, int] = {}
    for priority in sorted({wish.priority for wish in wishes}, reverse=True):
        equals = [wish for wish in wishes if wish.priority == priority]
        wanted = {wish.batch: wish.most for wish in equals}
        given = level(wanted, {wish.batch: wish.running for wish in equals}, room)
        room -= sum(given.values())
        found |= given
    return found


def level(wanted: Mapping[str, int], running: Mapping[str, int], room: int) -> dict[str, int]:
    """So many slots, each to whoever has the fewest by then and wants more."""
    given = dict.fromkeys(wanted, 0)
    heap = [(running[name], name) for name, most in wanted.items() if most > 0]
    heapq.heapify(heap)
    for _ in range(max(room, 0)):
        if not heap:
            break
        has, name = heap[0]
        given[name] += 1
        if given[name] < wanted[name]:
            heapq.heapreplace(heap, (has + 1, name))
        else:
            heapq.heappop(heap)
    return given


def by_tenant(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The sums of the counts, by tenant."""
    sums: dict[str, int] = {}
    for tenant, count in pairs:
        sums[tenant] = sums.get(tenant, 0) + count
    return sums
