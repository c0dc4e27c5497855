"""A death: a worker process whose leases expired."""

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, UtcDateTime, clock


class Death(Base):
    """What a dead process is remembered by, for as long as it says something about its jobs.

    All jobs of a process are judged by the same row, whichever lease expired first. `suspect` is
    the suspect it ran, where it ran one; `only` its job, where it held just one. One that held
    nothing has neither.
    """

    __tablename__ = "deaths"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock())
    suspect: Mapped[str | None] = mapped_column(String(64))
    only: Mapped[str | None] = mapped_column(String(64))

    __table_args__ = (Index("ix_deaths_at", "at"),)
