"""A batch as its owners see it: OpenAI's object, and beside it what is ours."""

from collections.abc import Mapping
from datetime import datetime

from models import Batch, BatchStatus
from worker.store import Recent, Tally

# The moments of OpenAI's object, seconds since the epoch.
MOMENTS = (
    "created_at", "in_progress_at", "expires_at", "finalizing_at", "completed_at", "failed_at",
    "expired_at", "cancelling_at", "cancelled_at",
)  # fmt: skip


def batch_object(batch: Batch, recent: Recent | None = None) -> dict[str, object]:
    """The batch object.

    Beside OpenAI's fields: `paused` (null, or why and until when), `cost` (of all requests so far,
    in the prices' currency; null where nothing has a price), `failures` (failed rows by category),
    `run_window`, `priority`, `max_cost`, `max_failed_ratio`, `retry_of`.

    Args:
        batch: its row.
        recent: what its tally lacks; None where it has ended. Tokens lag by some seconds.
    """
    tally, recent = Tally.of(batch.tally), recent or Recent()
    known = tally.priced or recent.cost
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model,
        "errors": _errors(batch),
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        **{name: _seconds(getattr(batch, name)) for name in MOMENTS},
        "request_counts": {
            "total": batch.total,
            "completed": tally.completed + recent.completed,
            "failed": tally.failed + recent.failed,
        },
        "usage": _usage(tally),
        "metadata": batch.labels,
        "paused": _paused(batch),
        "cost": tally.cost + recent.cost if known else None,
        "failures": tally.categories,
        "run_window": batch.run_window,
        "priority": batch.priority,
        "max_cost": batch.max_cost,
        "max_failed_ratio": batch.max_failed_ratio,
        "retry_of": batch.retry_of,
    }


def _errors(batch: Batch) -> dict[str, object] | None:
    if batch.status != BatchStatus.FAILED:
        return None
    return {"object": "list", "data": batch.errors or []}


def _usage(tally: Tally) -> dict[str, object]:
    return {
        "input_tokens": tally.input_tokens,
        "input_tokens_details": {"cached_tokens": tally.cached_tokens},
        "output_tokens": tally.output_tokens,
        "output_tokens_details": {"reasoning_tokens": tally.reasoning_tokens},
        "total_tokens": tally.input_tokens + tally.output_tokens,
    }


def _paused(batch: Batch) -> Mapping[str, object] | None:
    if batch.paused_at is None:
        return None
    return {
        "since": _seconds(batch.paused_at),
        "until": _seconds(batch.paused_until),
        "reason": batch.pause_reason,
        "message": batch.pause_message,
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
