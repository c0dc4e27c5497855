"""What is a row: jobs, attempts, suspensions, processes, deaths; states; the migrations."""

from models.attempt import Attempt
from models.base import Base, clock
from models.death import Death
from models.job import Job
from models.process import Process
from models.states import TERMINAL, JobState, Lane
from models.suspension import Suspension

__all__ = [
    "TERMINAL",
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
