"""What is a row: jobs, attempts, keys, suspensions, processes, deaths; states; migrations."""

from models.attempt import Attempt
from models.base import Base, clock
from models.death import Death
from models.job import Job
from models.key import ApiKey
from models.process import Process
from models.states import TERMINAL, JobState, Lane
from models.suspension import Suspension

__all__ = [
    "TERMINAL",
    "ApiKey",
    "Attempt",
    "Base",
    "Death",
    "Job",
    "JobState",
    "Lane",
    "Process",
    "Suspension",
    "clock",
]
