"""How long something is tried, and how long to wait between two tries."""

import random
import time
from collections.abc import Callable

from worker.client.errors import ClientError

# The first pause, doubled with each failure up to the longest; seconds.
FIRST_S, LONGEST_S = 0.25, 8.0
MOST_DOUBLINGS = 10


class Patience:
    """Ends so many seconds after it began, or after the last success.

    Args:
        patience_s: seconds; 0 is a single try.
        first_s: the pause after the first failure.
    """

    def __init__(
        self,
        patience_s: float,
        first_s: float = FIRST_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.first_s = first_s
        self._patience_s = patience_s
        self._clock = clock
        self._until = clock() + patience_s
        self._failures = 0
        self._failure: ClientError | None = None

    def succeeded(self) -> None:
        """Begin anew."""
        self._until = self._clock() + self._patience_s
        self._failures, self._failure = 0, None

    def failed(self, error: ClientError) -> None:
        """A try has come to nothing, and the next may not."""
        self._failures += 1
        self._failure = error

    def pause_s(self) -> float:
        """How long to wait before the next try: 0 unless the last one failed.

        As long as the gateway asked for, if it did. Else by chance between half and the whole of a
        pause that doubles: clients that lost the same gateway do not come back all at once.

        Raises:
            ClientError: the last failure; patience is over, or would be before the next try.
        """
        failure = self._failure
        if failure is None:
            return 0.0
        left_s = self._until - self._clock()
        asked_s = failure.retry_after_s or 0.0
        if left_s <= 0 or asked_s > left_s:
            raise failure
        doublings = min(self._failures - 1, MOST_DOUBLINGS)
        pause_s = min(self.first_s * 2.0**doublings, LONGEST_S) * random.uniform(0.5, 1)  # noqa: S311
        return min(max(asked_s, pause_s), left_s)
