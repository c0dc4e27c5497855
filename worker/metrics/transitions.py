"""What becomes of jobs, counted as `worker.transitions` tells it.

None of it is on the way of a delta, and times are taken from the rows.
"""

from collections.abc import Mapping
from datetime import datetime

from models import Attempt, Job
from worker import usage
from worker.metrics import names
from worker.metrics.bounds import BOUNDS, category
from worker.metrics.registry import count, observe
from worker.transitions import Step, Transition

# A shorter wait is a question that was answered.
LEAST_WAIT_S = 0.005
RETRY = "retry"
# Codes of attempts that ended by our own will, without an error.
BROKEN_OFF = frozenset({"drained", "lost", "cancelled"})


def counted(told: Transition) -> None:
    """Count a step; to be an observer of `worker.transitions`."""
    job, record = told.job, told.record
    match told.step:
        case Step.SUBMITTED:
            count(names.SUBMITTED, job.lane)
        case Step.RETRYING:
            _retried(told)
        case Step.GIVEN_BACK:
            why = told.error.category.value if told.error else told.reason
            count(names.GIVEN_BACK, job.lane, why or "deferred")
        case Step.RESCUED:
            count(names.RESCUED)
        case Step.SETTLED:
            count(names.ENDED, job.state, job.lane, category(job.error_category))
    if record is not None:
        _attempted(job, record, told.spent)
    if told.exchange is not None and told.step in (Step.SETTLED, Step.SPOOLED):
        _ran(job)


def _ran(job: Job) -> None:
    """Its holder has run the job to its end."""
    if job.batch_id is not None:
        return  # its batch decides when it is begun
    # By this machine's clock and the database's: they may be apart, but not by what matters here.
    now = datetime.now(job.created_at.tzinfo)
    observe(names.JOB_SECONDS, _seconds(job.created_at, now), job.lane)
    if job.attempt == 1 and job.started_at is not None:
        observe(names.QUEUE_SECONDS, _seconds(job.created_at, job.started_at), job.lane)


def _retried(told: Transition) -> None:
    """Another attempt of this hold follows, after a wait."""
    waited(told.job.lane, RETRY, told.wait_s or 0.0)
    record, error = told.record, told.error
    if record is not None and error is not None:
        upstream = BOUNDS.upstream(record.upstream)
        count(names.RETRIES, upstream, error.category.value, BOUNDS.code(error.code))


def _attempted(job: Job, record: Attempt, spent: float | None) -> None:
    """A request is over, in whatever way."""
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
    written = usage.count(record.usage, *usage.OUTPUT)
    if first is not None and written and (spoke_s := _seconds(first, record.finished_at)) > 0:
        observe(names.TOKEN_PACE, written / spoke_s, upstream, model)


def waited(lane: str, reason: str, wait_s: float) -> None:
    """A job has waited in its slot."""
    if wait_s >= LEAST_WAIT_S:
        observe(names.WAITS, wait_s, lane, reason)


def _use(told: Mapping[str, object], upstream: str, model: str) -> None:
    for kind, tokens in (
        ("input", usage.count(told, *usage.INPUT)),
        ("cached", usage.count(told, *usage.CACHED)),
        ("output", usage.count(told, *usage.OUTPUT)),
    ):
        if tokens:
            count(names.TOKENS, upstream, model, kind, by=tokens)


def _seconds(since: datetime, until: datetime) -> float:
    return max((until - since).total_seconds(), 0.0)
