"""What must hold of a batch that has ended, whatever broke: one function for each, as `checker`.

The job's own invariants are the checker's; here is what only a batch has: two files, a row's
generations, and sums.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from models import TERMINAL, Job
from tests.faults.checker import SLACK_S
from tests.faults.evidence import Evidence

DONE = ("completed", "incomplete")
Lines = Sequence[Mapping[str, Any]]


class Outcome(Struct, kw_only=True):
    """What a batch came to.

    Attributes:
        status: how it has to end.
        custom_ids: of the rows of its file, in order.
        document: the batch object, over HTTP.
        output, errors: the lines of its files.
        jobs: all its jobs, of every generation.
        evidence: what else was left behind.
    """

    status: str
    custom_ids: Sequence[str]
    document: Mapping[str, Any]
    output: Lines
    errors: Lines
    jobs: Sequence[Job]
    evidence: Evidence

    def counting(self) -> list[Job]:
        """Of each row the job of the highest generation."""
        last: dict[int, Job] = {}
        for job in sorted(self.jobs, key=lambda job: job.generation):
            last[job.batch_row or 0] = job
        return list(last.values())


Check = Callable[[Outcome], Iterator[str]]


def it_ends_as_it_should(outcome: Outcome) -> Iterator[str]:
    """The status is the one that was expected."""
    if outcome.document["status"] != outcome.status:
        yield f"the batch is {outcome.document['status']}, not {outcome.status}"


def every_row_became_jobs(outcome: Outcome) -> Iterator[str]:
    """Each line of the file is a row, in its place; of its jobs all but the last are superseded."""
    rows: defaultdict[int, list[Job]] = defaultdict(list)
    for job in outcome.jobs:
        rows[-1 if job.batch_row is None else job.batch_row].append(job)
    for number, name in enumerate(outcome.custom_ids):
        jobs = sorted(rows.pop(number, []), key=lambda job: job.generation)
        if [job.generation for job in jobs] != list(range(len(jobs))) or not jobs:
            yield f"{name} has the generations {[job.generation for job in jobs]}"
        if [job.superseded for job in jobs] != [True] * (len(jobs) - 1) + [False]:
            yield f"{name}: superseded are {[job.superseded for job in jobs]}"
        for job in jobs:
            if job.custom_id != name:
                yield f"row {number} is {job.custom_id}, not {name}"
            if job.superseded and job.state != "failed":
                yield f"{name}: a job was superseded that is {job.state}"
    for number in rows:
        yield f"row {number} is in no line of the file"


def every_row_has_one_line(outcome: Outcome) -> Iterator[str]:
    """Each custom_id stands once in both files together."""
    lines = Counter(str(line["custom_id"]) for line in (*outcome.output, *outcome.errors))
    for name in outcome.custom_ids:
        if (found := lines.pop(name, 0)) != 1:
            yield f"{name} has {found} lines"
    for name in lines:
        yield f"{name} has a line and was not in the file"


def lines_say_what_is_saved(outcome: Outcome) -> Iterator[str]:
    """A row that is done stands in the output with its text, another in the file of errors."""
    output = {line["custom_id"]: line for line in outcome.output}
    errors = {line["custom_id"]: line for line in outcome.errors}
    for job in outcome.counting():
        line = (output if job.state in DONE else errors).get(job.custom_id)
        if line is None:
            yield f"{job.custom_id} is {job.state} and has no line in the right file"
            continue
        answer = line["response"]
        if job.state in DONE:
            text = answer["body"]["choices"][0]["message"]["content"]
            if text != (job.output_text or ""):
                yield f"{job.custom_id}: its line has another text than the one saved"
        elif answer is not None and answer["body"]["error"]["code"] != job.error_code:
            yield f"{job.custom_id}: its line says {answer['body']['error']}, not {job.error_code}"


def the_accounts_add_up(outcome: Outcome) -> Iterator[str]:
    """Counts, failures and usage are those of the rows; superseded ones have only cost."""
    counting = outcome.counting()
    done = len([job for job in counting if job.state in DONE])
    failed = Counter(job.error_category or job.state for job in counting if job.state not in DONE)
    counts = {"total": len(counting), "completed": done, "failed": failed.total()}
    costs = [job.cost for job in outcome.jobs if job.cost is not None]
    document = outcome.document
    usage = {
        f"{said}_tokens": sum(_tokens(job, name) for job in counting)
        for said, name in (("input", "prompt"), ("output", "completion"))
    }
    told = {name: document["usage"][name] for name in usage}
    for name, wanted, found in (
        ("request_counts", counts, document["request_counts"]),
        ("failures", dict(failed), document["failures"]),
        ("usage", usage, told),
        ("cost", round(sum(costs), 9) if costs else None, _rounded(document["cost"])),
    ):
        if found != wanted:
            yield f"the batch's {name}: {found}, its rows': {wanted}"


def nothing_is_sent_after_the_end(outcome: Outcome) -> Iterator[str]:
    """Nobody asks the upstream for a job whose end is committed."""
    ends = {
        change.job: change.at for change in outcome.evidence.changes if change.new_state in TERMINAL
    }
    for served in outcome.evidence.served:
        late_s = served["started_ns"] / 1e9 - ends.get(served["job"], float("inf"))
        if late_s > SLACK_S:
            yield f"{served['job']} was sent to the upstream {late_s:.1f} s after its end"


CHECKS: tuple[Check, ...] = (
    it_ends_as_it_should,
    every_row_became_jobs,
    every_row_has_one_line,
    lines_say_what_is_saved,
    the_accounts_add_up,
    nothing_is_sent_after_the_end,
)


def violations(outcome: Outcome) -> list[str]:
    """What is amiss, each with the name of the check; empty where all hold."""
    return [f"{check.__name__}: {found}" for check in CHECKS for found in check(outcome)]


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 9)


def _tokens(job: Job, kind: str) -> int:
    usage: Mapping[str, Any] = job.usage or {}
    return int(usage.get(f"{kind}_tokens", 0))
