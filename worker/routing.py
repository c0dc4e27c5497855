"""Which upstream serves an attempt: in the configured order, past those that are suspended."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from models import Suspension
from worker.catalog import ANY_MODEL, Catalog, Upstream
from worker.errors import Category, StoreAway, UpstreamError
from worker.store import Suspensions

logger = logging.getLogger(__name__)

# How old a process's picture of the suspensions may be. Each process sees its own at once.
FRESH_S = 1.0
# How long the database is waited for.
PATIENCE_S = 5.0


class Router:
    """The upstreams and suspensions as one process sees them."""

    def __init__(self, catalog: Catalog, suspensions: Suspensions) -> None:
        self._catalog = catalog
        self._suspensions = suspensions
        self._standing: dict[tuple[str, str, str], Suspension] = {}
        self._looked_at: float | None = None
        self._looking = asyncio.Lock()

    def course(self, model: str) -> "Course":
        """The upstreams for one job."""
        return Course(self, model, self._catalog.serving(model))

    async def refresh(self) -> None:
        """Look at the suspensions again, unless that was done, or tried, a moment ago."""
        async with self._looking:
            clock = asyncio.get_running_loop().time
            asked = clock()
            if self._looked_at is not None and asked - self._looked_at < FRESH_S:
                return
            try:
                async with asyncio.timeout(PATIENCE_S):
                    found = await self._suspensions.standing()
            except (StoreAway, TimeoutError):
                # The last picture must do: to stream takes no database.
                logger.warning("the suspensions are not known: the database is away")
                self._looked_at = clock()
                return
            self._standing = {(s.base_url, s.key_fingerprint, s.model): s for s in found}
            self._looked_at = asked

    def suspension(self, upstream: Upstream, model: str) -> Suspension | None:
        """What stands against the model, or the whole key, at the upstream."""
        key = upstream.base_url, upstream.key_fingerprint()
        found = (self._standing.get((*key, name)) for name in (ANY_MODEL, model))
        now = datetime.now(UTC)
        return next((each for each in found if each is not None and each.until > now), None)

    async def suspend(
        self, upstream: Upstream, model: str, error: UpstreamError, for_s: float
    ) -> None:
        """Suspend the upstream's key for the model, or for all where it is `*`."""
        async with self._looking:  # a look that began before must not undo it
            try:
                suspension = await self._suspensions.suspend(
                    base_url=upstream.base_url,
                    key_fingerprint=upstream.key_fingerprint(),
                    model=model,
                    upstream=upstream.name,
                    error=error,
                    for_s=for_s,
                )
            except StoreAway:
                logger.warning(
                    "upstream %s: only this process knows that it is to be suspended: "
                    "the database is away",
                    upstream.name,
                )
                return
            self._standing[suspension.base_url, suspension.key_fingerprint, model] = suspension
        logger.warning(
            "upstream %s is suspended for %s until %s: %s %s",
            upstream.name, model, suspension.until, error.category, error.code,
        )  # fmt: skip


class Course:
    """The upstreams one hold of a job may still try."""

    def __init__(self, router: Router, model: str, serving: Sequence[Upstream]) -> None:
        self._router = router
        self._model = model
        self._serving = serving
        self._failed: set[str] = set()
        self._refusing: set[str] = set()

    async def upstream(self) -> Upstream:
        """The upstream for the next attempt.

        Raises:
            UpstreamError: all are suspended (with the first one's own words and wait), or none
                is configured for the model.
        """
        if not self._serving:
            message = f"no upstream serves {self._model!r}"
            raise UpstreamError(Category.NOT_FOUND, "no_upstream", message=message)
        await self._router.refresh()
        open_ones = self._open()
        if not open_ones:
            raise self._refusal()
        return next((up for up in open_ones if up.name not in self._failed), open_ones[0])

    def turn_from(self, upstream: Upstream, *, refusing: bool) -> bool:
        """Leave the upstream for another, if there is one that was not left before.

        For one that is refusing, and so suspended, another that merely failed before will do: its
        own budget bounds how often it is tried.
        """
        self._failed.add(upstream.name)
        if refusing:
            self._refusing.add(upstream.name)
        left = self._refusing if refusing else self._failed
        return any(other.name not in left for other in self._open())

    def _open(self) -> list[Upstream]:
        return [up for up in self._serving if self._router.suspension(up, self._model) is None]

    def _refusal(self) -> UpstreamError:
        first = self._serving[0]
        suspension = self._router.suspension(first, self._model)
        assert suspension is not None
        left_s = (suspension.until - datetime.now(UTC)).total_seconds()
        return UpstreamError(
            Category.SUSPENDED,
            suspension.code,
            suspension.status,
            f"{first.name} is suspended until {suspension.until:%Y-%m-%d %H:%M:%S} UTC "
            f"({suspension.category}): {suspension.message}",
            retry_after_s=max(left_s, 0.0) or None,
        )
