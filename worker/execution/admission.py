"""What an attempt asks of the limiter, and what it tells it."""

from models import Job
from worker.catalog import Upstream
from worker.errors import UpstreamError
from worker.limiter import CoolDown, Failure, Permit, Scope, estimated_tokens
from worker.policy import Policy, Row
from worker.usage import TOTAL, count


def scope_of(upstream: Upstream, model: str) -> Scope:
    """The model at the account."""
    return Scope(upstream.base_url, upstream.key_fingerprint(), model)


def permit_for(job: Job, upstream: Upstream) -> Permit:
    """One request, its tokens, one open stream."""
    return Permit(
        job=job.id,
        attempt=job.attempt,
        bulk=job.lane == "bulk",
        scope=scope_of(upstream, job.model),
        key_limits=upstream,
        model_limits=upstream.model_limits(job.model),
        interactive_share=upstream.interactive_share,
        tokens=estimated_tokens(job.request),
    )


def failure_of(policy: Policy, error: UpstreamError) -> Failure:
    """The error as the limiter needs it: what it leads to for the whole fleet."""
    row = policy.row_for(error)
    return Failure(error.category.value, error.retry_after_s, _cool_down(row))


def _cool_down(row: Row) -> CoolDown | None:
    # A suspension is the database's business.
    if row.cool_down == "none" or row.action != "retry":
        return None
    return CoolDown(
        whole_key=row.cool_down == "key",
        errors=row.cool_down_errors,
        calls=row.cool_down_calls,
        share=row.cool_down_share,
        within_s=row.cool_down_within_s,
        least_s=row.cool_down_least_s,
        most_s=row.cool_down_most_s,
    )


def used_tokens(usage: dict[str, object] | None) -> int | None:
    """The upstream's own count of a request's tokens."""
    return count(usage, *TOTAL)
