"""What is a row: jobs, attempts, suspensions, deaths; their states; the schema's migrations."""

from models.attempt import Attempt
from models.base import Base, clock
from models.death import Death
from models.job import Job
from models.states import TERMINAL, JobState, Lane
from models.suspension import Suspension

__all__ = ["TERMINAL", "Attempt", "Base", "Death", "Job", "JobState", "Lane", "Suspension", "clock"]
