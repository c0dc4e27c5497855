"""Where a job or a batch is, and which way it can go. The strings are OpenAI's words."""

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


# Those of a job that has its answer, be it cut short.
ANSWERED = (JobState.COMPLETED, JobState.INCOMPLETE)
TERMINAL = frozenset({JobState.COMPLETED, JobState.INCOMPLETE, JobState.FAILED, JobState.CANCELLED})


class BatchStatus(StrEnum):
    """Where a batch is; OpenAI's words. A batch may be paused besides."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def terminal(self) -> bool:
        """True where no transition leads out."""
        return self not in OPEN


OPEN = (
    BatchStatus.VALIDATING,
    BatchStatus.IN_PROGRESS,
    BatchStatus.FINALIZING,
    BatchStatus.CANCELLING,
)


class Lane(StrEnum):
    """Which queue a job waits in: somebody watches (`interactive`) or nobody does (`bulk`)."""

    INTERACTIVE = "interactive"
    BULK = "bulk"
