"""What becomes of jobs, counted where it is committed.

One call for each transition, with the job's row as it stands and the attempt's: none of it is on
the way of a delta, and times are taken from the rows.
"""

from collections.abc import Mapping
from datetime import datetime

from models import Attempt, Job
from worker.catalog import MOST_TOKENS
from worker.metrics import names
from worker.metrics.bounds import BOUNDS, category
from worker.metrics.registry import count, observe

# A shorter wait is a question that was answered.
LEAST_WAIT_S = 0.005
RETRY = "retry"
# Codes of attempts that ended by our own will, without an error.
BROKEN_OFF = frozenset({"drained", "lost", "cancelled"})


def submitted(job: Job) -> None:
    """The job is new."""
    count(names.SUBMITTED, job.lane)


def ended(job: Job) -> None:
    """The job's end is committed, whoever ended it."""
    count(names.ENDED, job.state, job.lane, category(job.error_category))


def ran(job: Job, record: Attempt | None, spent: float | None) -> None:
    """Its holder has run the job to its end; `spent` is what its last request has cost."""
    attempted(job, record, spent)
    # By this machine's clock and the database's: they may be apart, but not by what matters here.
    now = datetime.now(job.created_at.tzinfo)
    if job.batch_id is not None:
        return  # its batch decides when it is begun
    observe(names.JOB_SECONDS, _seconds(job.created_at, now), job.lane)
    if job.attempt == 1 and job.started_at is not None:
        observe(names.QUEUE_SECONDS, _seconds(job.created_at, job.started_at), job.lane)


def retried(
    job: Job, record: Attempt | None, spent: float | None, code: str | None, wait_s: float
) -> None:
    """Another attempt of this hold follows, after so long a wait."""
    attempted(job, record, spent)
    waited(job.lane, RETRY, wait_s)
    if record is not None:
        upstream, why = BOUNDS.upstream(record.upstream), category(record.error_category)
        count(names.RETRIES, upstream, why, BOUNDS.code(code))


def given_back(job: Job, record: Attempt | None, spent: float | None, reason: str) -> None:
    """The job is queued again; `reason` is an error's category, `deferred` or `drained`."""
    attempted(job, record, spent)
    count(names.GIVEN_BACK, job.lane, reason)


def attempted(job: Job, record: Attempt | None, spent: float | None) -> None:
    """A request is over, in whatever way; nothing where none was sent."""
    if record is None:
        return
    upstream, model = BOUNDS.upstream(record.upstream), BOUNDS.model(job.model)
    why = category(record.error_category)
    if record.error_category is None and record.error_code in BROKEN_OFF:
        why = record.error_code
    count(names.ATTEMPTS, upstream, model, why)
    if spent:
        count(names.COST, upstream, model, by=spent)
    first = record.first_delta_at
    if first is not None:
        lasted_s = _seconds(record.started_at, first)
        observe(names.FIRST_TOKEN_SECONDS, lasted_s, upstream, model, job.lane)
    _use(record.usage or {}, upstream, model)
    written = _tokens(record.usage, "completion_tokens")
    if first is not None and written and (spoke_s := _seconds(first, record.finished_at)) > 0:
        observe(names.TOKEN_PACE, written / spoke_s, upstream, model)


def waited(lane: str, reason: str, wait_s: float) -> None:
    """A job has waited in its slot."""
    if wait_s >= LEAST_WAIT_S:
        observe(names.WAITS, wait_s, lane, reason)


def _use(usage: Mapping[str, object], upstream: str, model: str) -> None:
    details = usage.get("prompt_tokens_details")
    for kind, tokens in (
        ("input", _tokens(usage, "prompt_tokens")),
        ("cached", _tokens(details, "cached_tokens")),
        ("output", _tokens(usage, "completion_tokens")),
    ):
        if tokens:
            count(names.TOKENS, upstream, model, kind, by=tokens)


def _tokens(counts: object, name: str) -> int:
    found = counts.get(name) if isinstance(counts, Mapping) else None
    return found if type(found) is int and 0 <= found <= MOST_TOKENS else 0


def _seconds(since: datetime, until: datetime) -> float:
    return max((until - since).total_seconds(), 0.0)
