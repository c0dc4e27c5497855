"""Whether a batch is behind: its rows against the part of its window that is over."""

from datetime import datetime

from models import Batch, BatchStatus
from worker.batch.windows import RunWindow
from worker.store import Tally


def behind_s(batch: Batch, now: datetime) -> float | None:
    """Seconds of its window that the rows which have ended should have taken less.

    At a steady pace the batch ends in time if and only if that is not above 0. Where it has a run
    window, only time within it counts.

    Returns:
        None where the batch is not running, or its window has no time in it.
    """
    began = batch.in_progress_at
    if batch.status != BatchStatus.IN_PROGRESS or began is None or not batch.total:
        return None
    whole_s = open_s(batch.run_window, began, batch.expires_at)
    if not whole_s:
        return None
    tally = Tally.of(batch.tally)
    ended = (tally.completed + tally.failed) / batch.total
    return open_s(batch.run_window, began, min(now, batch.expires_at)) - ended * whole_s


def open_s(run_window: str | None, since: datetime, until: datetime) -> float:
    """Seconds between two moments in which the run window is open; all of them without one."""
    if until <= since:
        return 0.0
    if run_window is None:
        return (until - since).total_seconds()
    window, seconds, at = RunWindow.parse(run_window, "run_window"), 0.0, since
    while at < until:
        change = min(window.next_change(at), until)
        if window.is_open(at):
            seconds += (change - at).total_seconds()
        at = change
    return seconds
