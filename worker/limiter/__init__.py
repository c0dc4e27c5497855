"""Admission: how much of what is asked of the upstreams, by all workers together, may go now.

limiter      what an attempt talks to
line         those of a process who wait for the same
ledger       the fleet's books in Redis
limiter.lua  the one script that changes them
questions    how the script is asked: keys and arguments
reports      what responses say, told in the background
readings     rate-limit headers
estimate     tokens of a request that has yet to run
share        what a process allows itself while Redis is away
terms        the words of all these
"""

from worker.limiter.estimate import estimated_output, estimated_prompt, estimated_tokens
from worker.limiter.limiter import Limiter
from worker.limiter.terms import CoolDown, Failure, NotNow, Permit, Reason, Scope, State

__all__ = [
    "CoolDown",
    "Failure",
    "Limiter",
    "NotNow",
    "Permit",
    "Reason",
    "Scope",
    "State",
    "estimated_output",
    "estimated_prompt",
    "estimated_tokens",
]
