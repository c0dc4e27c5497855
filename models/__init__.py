"""What is a row: jobs, their attempts and states, suspensions, and the migrations of the schema."""

from models.attempt import Attempt
from models.base import Base, clock
from models.job import Job
from models.states import TERMINAL, JobState, Lane
from models.suspension import Suspension

__all__ = ["TERMINAL", "Attempt", "Base", "Job", "JobState", "Lane", "Suspension", "clock"]
