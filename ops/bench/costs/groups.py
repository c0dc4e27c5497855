"""How many go together: in the run that is measured, and so in its parts."""

import msgspec

from ops.bench.costs.counted import Counts


class Groups(msgspec.Struct, frozen=True, kw_only=True):
    """How many go together.

    Attributes:
        submitted: jobs that are submitted at a time, each by itself; 0 where rows of a batch are
            read in.
        carried: rows of a wake-up; 0 where each job has its own.
        released, claimed, ended: by one statement; jobs are not released.
    """

    submitted: int = 0
    carried: int = 0
    released: int = 0
    claimed: int
    ended: int

    @classmethod
    def of_rows(cls, counts: Counts) -> "Groups":
        """Those of a batch's rows."""
        return cls(
            carried=_mean(counts.woken, counts.wakes),
            released=_mean(counts.released, counts.releases),
            claimed=_mean(counts.claimed, counts.claims),
            ended=_mean(counts.ended, counts.ends),
        )

    @classmethod
    def of_jobs(cls, counts: Counts, submitted: int) -> "Groups":
        """Those of jobs of which so many are submitted at a time."""
        claimed, ended = _mean(counts.claimed, counts.claims), _mean(counts.ended, counts.ends)
        return cls(submitted=submitted, claimed=claimed, ended=ended)


def _mean(rows: int, groups: int) -> int:
    return max(1, round(rows / max(groups, 1)))
