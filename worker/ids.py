"""Ids: unlike any other, and in the order of their making."""

import secrets
import time

# What jobs' ids begin with.
JOB = "job_"


def new_job_id() -> str:
    """The id of a new job."""
    return new_id(JOB)


def new_id(prefix: str) -> str:
    """The prefix, 48 bits of time in milliseconds, so that ids sort by age, and 80 random bits."""
    return f"{prefix}{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
