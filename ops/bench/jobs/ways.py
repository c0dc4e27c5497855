"""The ways in: how a job is submitted, and of what parts its cost is the sum."""

import msgspec


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A way in.

    Attributes:
        name: for the tables.
        word: for `ops.bench.jobs.submitting`; a batch's rows have none.
        messages: wake-ups and submissions that a job has: tasks, and sends.
        jobs: of a request to the gateway; 0 where there is no gateway.
        at_once: how many jobs, or requests, are under way at a time.
    """

    name: str
    word: str = ""
    messages: int = 1
    jobs: int = 0
    at_once: int = 1

    @property
    def requests(self) -> float:
        """To the gateway, for a job."""
        return 1 / self.jobs if self.jobs else 0.0


# As many as a list of jobs submits at a time (`worker.gateway.jobs`).
FEW = 8
# Clients of a gateway.
CLIENTS = 50
LISTED = 100

PYTHON = Way(name="Python submit", word="python", at_once=FEW)
MESSAGE = Way(name="Celery message", word="message", messages=2)
SINGLY = Way(name="HTTP, one by one", word="singly", jobs=1, at_once=CLIENTS)
LISTS = Way(name=f"HTTP, lists of {LISTED}", word="lists", jobs=LISTED, at_once=1)
CHAT = Way(name="chat completions", word="chat", jobs=1, at_once=CLIENTS)
ROWS = Way(name="rows of a batch")
WAYS = (PYTHON, MESSAGE, SINGLY, LISTS, CHAT)
