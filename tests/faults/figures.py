"""What each fault test did and saw, in one table at the end of the session."""

from collections.abc import Sequence

import pytest
from msgspec import Struct, field, structs, to_builtins

from tests.faults.audit import Change
from tests.faults.evidence import Evidence

PROPERTY = "faults"


class Figures(Struct, kw_only=True):
    """Counts of one test.

    Attributes:
        injuries: what the nemesis did, kills left out.
        redelivered: messages that came for a job that was not to be had.
        fenced: holders that found out that they had lost their job, and wrote nothing.
        resent: wake-ups sent again by the sweep: the broker had lost them, or was slow.
        rescued: jobs taken back from a holder that let its lease expire.
        requests, most: requests at the upstream, and the most for one job.
        resumed: readers that came back after an error.
        recovery_s: from a kill to the next claim of each job that it cost; from the end of any
            other fault to the first job that ended after it.
    """

    seed: int
    jobs: int = 0
    kills: int = 0
    injuries: int = 0
    redelivered: int = 0
    fenced: int = 0
    resent: int = 0
    rescued: int = 0
    requests: int = 0
    most: int = 0
    resumed: int = 0
    recovery_s: list[float] = field(default_factory=list)

    def read(self, evidence: Evidence, kills: Sequence[float], healed: Sequence[float]) -> None:
        """Take in what was left behind; `kills` and `healed` are seconds since the epoch."""
        printed = "".join(evidence.printed.values())
        counts = [len(served) for served in evidence.served_by_job().values()]
        self.jobs = len(evidence.expected)
        self.redelivered = printed.count(" is not to be had")
        self.fenced = printed.count(": lost at attempt ")
        self.resent = sum(change.is_resent for change in evidence.changes)
        self.rescued = sum(change.is_rescue for change in evidence.changes)
        self.requests, self.most = sum(counts), max(counts, default=0)
        self.recovery_s = recoveries(evidence.changes, kills, healed)


def recoveries(
    changes: Sequence[Change], kills: Sequence[float], healed: Sequence[float]
) -> list[float]:
    """Seconds from each injury to what shows that it is over; see `Figures.recovery_s`."""
    found = []
    rescued_at: dict[str, float] = {}
    for change in changes:
        if change.is_rescue:
            rescued_at[change.job] = change.at
        elif change.is_claim and (moment := rescued_at.pop(change.job, None)):
            before = [kill for kill in kills if kill <= moment]
            if before:
                found.append(change.at - before[-1])
    ends = [change.at for change in changes if change.new_state == "completed"]
    for moment in healed:
        after = [at for at in ends if at >= moment]
        if after:
            found.append(after[0] - moment)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    """The value that so much of them (0 to 1) does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


COLUMNS = tuple(name for name in structs.fields(Figures) if name.name != "recovery_s")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table, if a fault test ran."""
    rows: dict[str, Figures] = {}
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == PROPERTY:
                    rows[report.nodeid] = Figures(**value)
    if not rows:
        return
    terminalreporter.section("faults")
    names = [column.name for column in COLUMNS]
    terminalreporter.write_line(" ".join(f"{name:>11}" for name in names) + "  recovery_s")
    for nodeid, figures in sorted(rows.items()):
        numbers = " ".join(f"{getattr(figures, name):>11}" for name in names)
        longest = f"{max(figures.recovery_s):.1f}" if figures.recovery_s else "-"
        terminalreporter.write_line(f"{numbers}  {longest:>10}  {nodeid.rpartition('::')[2]}")


def as_property(figures: Figures) -> tuple[str, object]:
    """As it travels from the process that ran the test to the one that prints."""
    return PROPERTY, to_builtins(figures)
