"""The worker's application, which counts its groups: `celery -A ops.bench.costs.counted worker`.

How many rows a statement or a message carries depends on the load, and the parts of a row's cost
on that. Counting takes some microseconds a group; the counts go to the file that `BENCH_COUNTS`
names.
"""

import os
import struct
from collections.abc import Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

import worker.app
from worker.app import app
from worker.store.dispatching import Dispatching, Released, Share
from worker.store.together import Together

__all__ = ["COUNTS", "Counts", "app", "counts_in"]

COUNTS = "BENCH_COUNTS"
_FORMAT = "8q"
# What the store does together, by the function that does it.
_TOGETHER = {"_claim_many": ("claims", "claimed"), "_end_many": ("ends", "ended")}


class Counts(msgspec.Struct):
    """How many groups of each kind there were, and how many rows were in them."""

    claims: int = 0
    claimed: int = 0
    ends: int = 0
    ended: int = 0
    releases: int = 0
    released: int = 0
    wakes: int = 0
    woken: int = 0

    def since(self, before: "Counts") -> "Counts":
        """What has come since then."""
        mine, others = msgspec.structs.astuple(self), msgspec.structs.astuple(before)
        return Counts(*(now - then for now, then in zip(mine, others, strict=True)))

    def add(self, groups: str, rows: str, many: int) -> None:
        """One group of so many rows."""
        setattr(self, groups, getattr(self, groups) + 1)
        setattr(self, rows, getattr(self, rows) + many)


def counts_in(file: Path) -> Counts:
    """What a worker has counted so far."""
    return Counts(*struct.unpack(_FORMAT, file.read_bytes())) if file.exists() else Counts()


def _count(file: str) -> None:
    counts = Counts()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    answer, release, wake_rows = Together._answer, Dispatching.release, worker.app.wake_rows

    def note(groups: str, rows: str, many: int) -> None:
        counts.add(groups, rows, many)
        os.pwrite(descriptor, struct.pack(_FORMAT, *msgspec.structs.astuple(counts)), 0)

    @wraps(answer)
    async def counted_answer(self: Together[Any, Any], some: Sequence[Any]) -> None:
        await answer(self, some)
        if kind := _TOGETHER.get(getattr(self._run, "__name__", "")):
            note(*kind, len(some))

    @wraps(release)
    async def counted_release(self: Dispatching, share: Share) -> Released | None:
        released = await release(self, share)
        if released is not None and (many := sum(map(len, released.ids.values()))):
            note("releases", "released", many)
        return released

    @wraps(wake_rows)
    async def counted_wake(ids: Sequence[str]) -> bool:
        note("wakes", "woken", len(ids))
        return await wake_rows(ids)

    Together._answer = counted_answer  # type: ignore[method-assign]
    Dispatching.release = counted_release  # type: ignore[method-assign]
    worker.app.wake_rows = counted_wake


if COUNTS in os.environ:
    _count(os.environ[COUNTS])
