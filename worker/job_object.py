"""The job object: what `show --json`, the API and webhooks say of a job."""

from collections.abc import Sequence

from redis.exceptions import RedisError

from models import Job, JobState
from worker.channel.events import START, ChannelEvent, Cursor, Delta
from worker.channel.log import Log
from worker.channel.replay import end_cursor
from worker.stream.extras import BESIDE
from worker.text import moment


async def live_job_object(job: Job, log: Log) -> dict[str, object]:
    """The job as a JSON object; while it runs, with its text so far and the cursor after it.

    Both come from one reading of its log; where Redis is away, the row has to do.
    """
    if job.state != JobState.IN_PROGRESS:
        return job_object(job)
    try:
        events = await log.read(job.id, START)
    except (RedisError, OSError):
        events = None
    if not events:
        return job_object(job)
    cursor = events[-1].cursor
    return job_object(job, cursor) | {"output_text": _text_so_far(events, cursor.attempt)}


def job_object(job: Job, published: Cursor | None = None) -> dict[str, object]:
    """The job as a JSON object; moments are ISO 8601 in UTC.

    Args:
        job: its row.
        published: what its reader has seen of its live log: the cursor while it runs.
    """
    terminal = JobState(job.state).terminal
    cursor = end_cursor(job) if terminal else published or Cursor(job.attempt, 0)
    return {
        "id": job.id,
        "object": "job",
        "state": job.state,
        "lane": job.lane,
        "model": job.model,
        "upstream": job.upstream,
        "attempt": job.attempt,
        "failures": job.failures,
        "throttles": job.throttles,
        "output_text": job.output_text,
        "output": _output(job),
        "finish_reason": job.finish_reason,
        "unverified": job.unverified,
        "usage": job.usage,
        "cost": job.cost,
        "error": _error(job),
        "cursor": str(cursor),
        "metadata": job.labels or {},
        "batch_id": job.batch_id,
        "custom_id": job.custom_id,
        "retry_of": job.retry_of,
        "created_at": moment(job.created_at),
        "scheduled_at": moment(job.scheduled_at),
        "started_at": moment(job.started_at),
        "first_delta_at": moment(job.first_delta_at),
        "finished_at": moment(job.finished_at),
        "deadline_at": moment(job.deadline_at),
    }


def _text_so_far(events: Sequence[ChannelEvent], attempt: int) -> str:
    """Choice 0's text, as `output_text` will be; what an attempt before wrote is void."""
    return "".join(
        event.text or ""
        for event in events
        if isinstance(event, Delta) and event.choice == 0 and event.cursor.attempt == attempt
    )


def _output(job: Job) -> list[dict[str, object]] | None:
    """The messages, without what only the results of batches tell."""
    if job.output is None:
        return None
    return [{k: v for k, v in message.items() if k != BESIDE} for message in job.output]


def _error(job: Job) -> dict[str, object] | None:
    if job.error_category is None:
        return None
    return {
        "category": job.error_category,
        "code": job.error_code,
        "status": job.error_status,
        "message": job.error_message,
    }
