"""What a check says."""

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True):
    """What a check found, and what to do about it."""

    name: str
    level: Level
    said: str
    remedy: str = ""
