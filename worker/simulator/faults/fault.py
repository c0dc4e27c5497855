"""What a fault is."""

from collections.abc import Callable

import msgspec

from worker.simulator.completion import Completion
from worker.simulator.steps import Steps

Apply = Callable[[Steps, Completion], Steps]
"""From the healthy steps of an answer to the ones that are played instead."""


class Fault(msgspec.Struct, frozen=True):
    """One way to answer badly.

    Attributes:
        name: what `fault=` in a model name says.
        sentence: what happens, for people.
        apply: makes the broken steps.
        once: whether it strikes only the first request of a conversation unless `times` says
            otherwise; so are faults that a retry is meant to cure.
        streams_only: whether it leaves answers with `stream: false` alone.
    """

    name: str
    sentence: str
    apply: Apply
    once: bool = True
    streams_only: bool = True

    def strikes(self, times: str, ordinal: int, stream: bool) -> bool:
        """Whether it hits request number `ordinal` (from 0) of a conversation."""
        if self.streams_only and not stream:
            return False
        limit = times or ("1" if self.once else "all")
        return limit == "all" or ordinal < int(limit)
