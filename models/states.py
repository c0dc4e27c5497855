"""Where a job is, and which way it can go. The strings are OpenAI's background-response words."""

from enum import StrEnum


class JobState(StrEnum):
    """The state of a job; the same strings in the database, the API, metrics and the console."""

    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    INCOMPLETE = "incomplete"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True where no transition leads out."""
        return self in TERMINAL


TERMINAL = frozenset({JobState.COMPLETED, JobState.INCOMPLETE, JobState.FAILED, JobState.CANCELLED})


class Lane(StrEnum):
    """Which queue a job waits in: somebody watches (`interactive`) or nobody does (`bulk`)."""

    INTERACTIVE = "interactive"
    BULK = "bulk"
