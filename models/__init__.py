"""What is a row: jobs, attempts, batches, files, keys and the like; states; migrations."""

from models.attempt import Attempt
from models.base import Base, clock
from models.batch import Batch
from models.death import Death
from models.file import File
from models.job import Job
from models.key import ApiKey
from models.process import Process
from models.states import ANSWERED, OPEN, TERMINAL, BatchStatus, JobState, Lane
from models.suspension import Suspension

__all__ = [
    "ANSWERED",
    "OPEN",
    "TERMINAL",
    "ApiKey",
    "Attempt",
    "Base",
    "Batch",
    "BatchStatus",
    "Death",
    "File",
    "Job",
    "JobState",
    "Lane",
    "Process",
    "Suspension",
    "clock",
]
