"""What the checker judges by: the database, the channel, and the simulator's own record."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from models import Attempt, Job
from tests.faults.audit import Change


class Expected(Struct, frozen=True):
    """How jobs have to end.

    Attributes:
        states: those allowed.
        categories: of the error; empty where none is allowed.
        requests: how many the upstream must have seen of the job; None is any number.
    """

    states: frozenset[str] = frozenset({"completed"})
    categories: frozenset[str] = frozenset()
    requests: int | None = None


def ending(*states: str, category: str | None = None, requests: int | None = None) -> Expected:
    """The expectation in few words."""
    categories = frozenset({category}) if category else frozenset()
    return Expected(frozenset(states), categories, requests)


class Shutdown(Struct, frozen=True):
    """How a process ended that was told to: its exit code, and how long it took."""

    code: int
    took_s: float
    grace_s: float


class Evidence(Struct, kw_only=True):
    """All that is left behind when everything is quiet.

    Attributes:
        expected: by the id of each job that was accepted.
        jobs: the rows, by id.
        changes: the audit, oldest first.
        attempts: the rows of requests, in any order.
        served: the simulator's record, oldest first.
        heard: the events that readers heard live, one list for each reader, by job.
        late: the events of readers who came after the end, by job.
        logs: the entries of the logs that Redis still has, by job.
        keys: the remaining life of each key in Redis in milliseconds; -1 is for ever.
        printed: all that the processes printed, by name.
        left: the contents of the channel's and the broker's Redis.
        secrets: what must not occur in `printed` and `left`.
        overlap_s: how long two requests of one job may be open together: a lease and a renewal.
        shutdowns: of processes that were told to end.
        torn: whether a worker was killed, or Redis has lost something.
    """

    expected: Mapping[str, Expected]
    jobs: Mapping[str, Job]
    changes: Sequence[Change]
    attempts: Sequence[Attempt]
    served: Sequence[dict[str, Any]]
    heard: Mapping[str, Sequence[Sequence[bytes]]]
    late: Mapping[str, Sequence[bytes]]
    logs: Mapping[str, Sequence[bytes]]
    keys: Mapping[str, int]
    printed: Mapping[str, str]
    left: bytes
    secrets: Sequence[str]
    overlap_s: float
    shutdowns: Sequence[Shutdown] = field(default_factory=list)
    torn: bool = False

    def served_by_job(self) -> dict[str, list[dict[str, Any]]]:
        """The requests of each job that has sent any, oldest first."""
        found: dict[str, list[dict[str, Any]]] = {}
        for each in self.served:
            found.setdefault(each["job"], []).append(each)
        return found
