"""What is a row: jobs, their attempts, their states, and the migrations of the schema."""

from models.attempt import Attempt
from models.base import Base, clock
from models.job import Job
from models.states import TERMINAL, JobState, Lane

__all__ = ["TERMINAL", "Attempt", "Base", "Job", "JobState", "Lane", "clock"]
