"""A suspension: a key that an upstream refuses, for one model or for all."""

from datetime import datetime

from sqlalchemy import String, Text
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, UtcDateTime, clock


class Suspension(Base):
    """Why nothing is sent to an upstream under a key, and until when.

    Keyed by address and key, not by name: two names of one account are refused together, and a
    new key is free at once. `model` is `*` where the whole key is refused.
    """

    __tablename__ = "suspensions"

    base_url: Mapped[str] = mapped_column(String(512), primary_key=True)
    key_fingerprint: Mapped[str] = mapped_column(String(16), primary_key=True)
    model: Mapped[str] = mapped_column(String(255), primary_key=True)

    upstream: Mapped[str] = mapped_column(String(64))
    category: Mapped[str] = mapped_column(String(32))
    code: Mapped[str | None] = mapped_column(String(255))
    status: Mapped[int | None]
    message: Mapped[str | None] = mapped_column(Text)
    since: Mapped[datetime] = mapped_column(UtcDateTime, default=clock())
    until: Mapped[datetime] = mapped_column(UtcDateTime)
