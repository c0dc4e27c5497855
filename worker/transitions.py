"""The transitions of jobs, told where they happen to whoever of this process wants to know.

    SUBMITTED   a job was accepted
    CLAIMED     this process holds it
    STARTED     a request is sent to an upstream
    RETRYING    that failed; the next one comes here, in `wait_s` seconds
    GIVEN_BACK  it waits in the queue, `wait_s` seconds, because of `reason` or `error`
    LOST        somebody else has it, or will
    RESCUED     it was taken from a process that is gone
    SETTLING    its end is about to be written
    SPOOLED     the database is away: the end waits in the spool
    SETTLED     it has ended, in the state it has now: told once by whoever ended it
    KEPT        the record of a request whose holder could not write it

Those who are told are quick, keep nothing alive, and must not need to be told: what happens to a
job never depends on them.
"""

import logging
from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from models import Attempt, Job
from worker.errors import UpstreamError

if TYPE_CHECKING:
    from worker.upstream import Exchange

logger = logging.getLogger(__name__)


class Step(StrEnum):
    """What happened."""

    SUBMITTED = "submitted"
    CLAIMED = "claimed"
    STARTED = "started"
    RETRYING = "retrying"
    GIVEN_BACK = "given_back"
    LOST = "lost"
    RESCUED = "rescued"
    SETTLING = "settling"
    SPOOLED = "spooled"
    SETTLED = "settled"
    KEPT = "kept"


class Transition(Struct, frozen=True):
    """One step of a job.

    Attributes:
        step: what happened.
        job: as it is now; `attempt` is the one that the step belongs to.
        exchange: with the upstream, in this attempt, where there was one in this process.
        error: what the attempt failed with.
        wait_s: seconds until it goes on.
        reason: why it waits, where that is no error: `deferred`, `drained`.
        record: of the request that is over with this step.
        spent: what that has cost, where it is known.
    """

    step: Step
    job: Job
    exchange: "Exchange | None" = None
    error: UpstreamError | None = None
    wait_s: float | None = None
    reason: str | None = None
    record: Attempt | None = None
    spent: float | None = None


Observer = Callable[[Transition], None]
_observers: list[Observer] = []


def observe(observer: Observer) -> None:
    """Have the observer told of all transitions in this process, for good; once of each."""
    if observer not in _observers:
        _observers.append(observer)


def tell(
    step: Step,
    job: Job,
    exchange: "Exchange | None" = None,
    error: UpstreamError | None = None,
    wait_s: float | None = None,
    reason: str | None = None,
    *,
    record: Attempt | None = None,
    spent: float | None = None,
) -> None:
    """Tell whoever wants to know; see `Transition`."""
    if not _observers:
        return
    transition = Transition(step, job, exchange, error, wait_s, reason, record, spent)
    for observer in _observers:
        try:
            observer(transition)
        except Exception as fault:
            logger.error("%s was not observed: %s", step, type(fault).__name__)  # noqa: TRY400
