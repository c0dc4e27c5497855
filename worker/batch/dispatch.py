"""The dispatcher: releases rows as slots become free, and wakes workers for them."""

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

from models import Batch
from worker.batch.fairness import Wish, by_tenant, shares
from worker.batch.limits import ANY, Pause, allowed, is_stopped
from worker.store import Claimant, Store, Wanted
from worker.turns import Turns

logger = logging.getLogger(__name__)

# The pause between two dispatches: what ends meanwhile is made up for together.
PAUSE_S = 0.2
# Rows that one wake-up carries at most: enough that the message costs little a row. And messages
# for each process, where there are enough rows, so that each gets some of what is released.
MOST_A_MESSAGE, MESSAGES_A_PROCESS = 16, 2

# Sends one wake-up for several rows; False where the broker did not take it.
WakeRows = Callable[[Sequence[str]], Awaitable[bool]]


class Dispatcher:
    """Releases rows whenever somebody says that there may be room.

    Args:
        store: where the rows wait.
        wake: sends wake-ups.
        when_spent: called where all rows of a batch may have ended.
    """

    def __init__(self, store: Store, wake: WakeRows, when_spent: Callable[[], None]) -> None:
        self._store = store
        self._wake = wake
        self._when_spent = when_spent
        self._turns = Turns(self.turn, "rows are not released", PAUSE_S)

    def refill(self) -> None:
        """Release soon what there is room for."""
        self._turns.ask()

    async def run(self) -> None:
        """Dispatch until cancelled."""
        await self._turns.run()

    async def turn(self) -> int:
        """Release what there is room for; how many rows."""
        pauses: list[tuple[Batch, Pause]] = []
        released = await self._store.dispatching.release(
            lambda claimants, room: _share(claimants, room, pauses)
        )
        if released is None:
            return 0
        for batch, pause in pauses:
            said = batch.id, pause.reason, pause.message
            if await self._store.batches.pause(*said, seen=batch):
                logger.warning("batch %s: paused: %s", batch.id, pause.message)
        if released.recalled:
            self.refill()
        if released.spent:
            self._when_spent()
        ids = [id for own in released.ids.values() for id in own]
        await self._wake_all(portions(ids, released.processes))
        return len(ids)

    async def _wake_all(self, messages: Sequence[Sequence[str]]) -> None:
        for number, portion in enumerate(messages):
            if not await self._wake(portion):
                # They hold their slots: the sweep is not to wait a minute for a lost message.
                left = [id for message in messages[number:] for id in message]
                await self._store.dispatching.unsent(left)
                break


def _share(claimants: Sequence[Claimant], room: int, pauses: list[tuple[Batch, Pause]]) -> Wanted:
    """Whose jobs are released; rows that a batch has parked count as if they held slots of it."""
    now = datetime.now(UTC)
    slots = room + sum(each.released for each in claimants)
    wishes = []
    for each in claimants:
        batch = each.batch
        most = ANY if batch is None else allowed(batch, each.released, each.recent, now)
        if isinstance(most, Pause):
            assert batch is not None
            pauses.append((batch, most))
        elif (most := min(most, slots - each.under_way)) > 0:
            priority = 0 if batch is None else batch.priority
            wishes.append(Wish(each.id, each.tenant, priority, each.released, most))
    running = by_tenant((each.tenant, each.released) for each in claimants)
    stopped = [each.id for each in claimants if each.batch and is_stopped(each.batch, now)]
    return Wanted(shares(wishes, room, running), stopped)


def portions(ids: Sequence[str], processes: int) -> list[Sequence[str]]:
    """The ids as messages for so many processes carry them."""
    each = math.ceil(len(ids) / max(processes * MESSAGES_A_PROCESS, 1))
    size = max(1, min(MOST_A_MESSAGE, each))
    return [ids[start : start + size] for start in range(0, len(ids), size)]
