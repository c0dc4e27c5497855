"""A process that holds jobs, or could: it is alive for as long as it renews its lease."""

from datetime import datetime

from sqlalchemy import Index, String, text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, UtcDateTime


class Process(Base):
    """A worker process. The row goes when the process ends, or when its death is noticed."""

    __tablename__ = "processes"

    owner: Mapped[str] = mapped_column(String(64), primary_key=True)
    lease_until: Mapped[datetime] = mapped_column(UtcDateTime)
    # How many bulk jobs it is ready to run at a time.
    bulk_slots: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    # When it was told to end, by command; it hears of it with its next renewal.
    drain_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_processes_lease_until", "lease_until"),)
