"""What only the fleet's books tell, asked by one process for all: beat."""

from worker.survey.survey import Survey

__all__ = ["Survey"]
