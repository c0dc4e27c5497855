"""How a hold of a job can end: one value each, so that writing them is one `match`."""

from msgspec import Struct

from worker.errors import UpstreamError
from worker.policy.row import Budget
from worker.stream.transcript import Verdict


class Ended(Struct, frozen=True):
    """The upstream answered, and the end is proven."""

    verdict: Verdict


class Failed(Struct, frozen=True):
    """No further attempt will be made."""

    error: UpstreamError


class Deferred(Struct, frozen=True):
    """The job goes back to the queue for `wait_s` seconds.

    Attributes:
        wait_s: so many.
        error: what the last attempt failed with; None where none was made.
        charge: the budget it is charged to; None where the job is not to blame.
        with_batch: whether it waits for its batch, which was paused for so long, to go on: that
            may be resumed sooner.
    """

    wait_s: float
    error: UpstreamError | None = None
    charge: Budget | None = None
    with_batch: bool = False


class Drained(Struct, frozen=True):
    """The process ends: the job goes back to the queue, due at once, charged to nothing."""


Outcome = Ended | Failed | Deferred | Drained


class Deferral(Exception):
    """Carries `Deferred` out of tenacity's loop."""

    def __init__(self, deferred: Deferred) -> None:
        super().__init__()
        self.deferred = deferred
