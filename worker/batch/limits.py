"""What holds a batch back: a pause, its run window, its spending cap, its share of failures."""

import math
from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from models import Batch
from worker.batch.windows import RunWindow
from worker.store import Recent, Tally

# Of fewer ended rows the share of failures says nothing.
LEAST_ENDED = 20
# As many as there are slots.
ANY = 1 << 30


class PauseReason(StrEnum):
    """Why a batch is paused."""

    REQUESTED = "requested"
    SUSPENDED = "suspended"
    MAX_FAILED_RATIO = "max_failed_ratio"
    MAX_COST = "max_cost"


class Pause(Struct, frozen=True):
    """That the batch is to be paused, and why."""

    reason: PauseReason
    message: str


def allowed(batch: Batch, released: int, recent: Recent, now: datetime) -> int | Pause:
    """How many more of its rows may be released, or that it is to be paused.

    Args:
        batch: in progress.
        released: rows that are under way.
        recent: what the batch's tally lacks.
        now: the moment; aware.
    """
    if is_stopped(batch, now) or now >= batch.expires_at:
        return 0
    tally = Tally.of(batch.tally)
    failing = _failing(batch, tally, recent)
    return failing or _affordable(batch, tally, recent, released)


def is_stopped(batch: Batch, now: datetime) -> bool:
    """Whether no row may begin: it is paused, or its run window is closed."""
    if batch.paused_at is not None:
        return True
    if not batch.run_window:
        return False
    return not RunWindow.parse(batch.run_window, "run_window").is_open(now)


def _failing(batch: Batch, tally: Tally, recent: Recent) -> Pause | None:
    most = batch.max_failed_ratio
    failed = tally.failed + recent.failed
    ended = tally.completed + recent.completed + failed
    if most is None or ended < LEAST_ENDED or failed <= most * ended:
        return None
    said = f"{failed:,} of {ended:,} ended rows have failed, more than max_failed_ratio {most:g}"
    return Pause(PauseReason.MAX_FAILED_RATIO, f"{said}; see why, then resume it with another")


def _affordable(batch: Batch, tally: Tally, recent: Recent, released: int) -> int | Pause:
    """As many rows as the cap bears if each costs as much as any may: what the file's dearest was
    taken to cost, or the dearest so far where that was more. Cheap ones that end first say nothing
    of those under way. The last ones run alone, as long as the cap bears another like the dearest
    so far: then one row may exceed it, and not all slots.
    """
    if batch.max_cost is None:
        return ANY
    spent = tally.cost + recent.cost
    highest = max(tally.highest, recent.highest)
    reserve = max(highest, tally.reserve)
    left = batch.max_cost - spent
    if reserve <= 0:
        return ANY if left > 0 else _spent(batch, spent)
    most = math.floor((left - released * reserve) / reserve)
    if most > 0 or released:
        return max(most, 0)
    return 1 if 0 < highest <= left else _spent(batch, spent)


def _spent(batch: Batch, spent: float) -> Pause:
    said = f"{spent:.4f} of max_cost {batch.max_cost:g} are spent, and another row may exceed it"
    return Pause(PauseReason.MAX_COST, f"{said}; resume it with a higher one")
