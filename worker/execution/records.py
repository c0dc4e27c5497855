"""What is kept of an attempt: the job's output, the attempt's row, the event that voids it."""

from datetime import UTC, datetime

from models import Attempt, Job
from worker.channel.events import Retrying
from worker.errors import UpstreamError
from worker.execution.run import Run
from worker.text import repair
from worker.upstream import Exchange

# What a column for an upstream's word holds.
WORD = 255


def keep_output(job: Job, exchange: Exchange | None) -> None:
    """Put what the exchange brought into the job's columns; nothing where there was none."""
    if exchange is None:
        return
    transcript = exchange.transcript
    parts = transcript.parts()
    job.upstream = exchange.request.upstream.name
    job.upstream_request_id = word(exchange.request_id)
    job.output_text = transcript.output_text
    # Of a row of a batch nobody hears what came beside the text, but its line tells it.
    job.output = transcript.output(extras=job.batch_id is not None)
    job.parts = parts if any(part[:2] != (0, "text") for part in parts) else None
    job.length = transcript.length
    job.finish_reason = word(transcript.finish_reason)
    job.usage = transcript.usage
    job.first_delta_at = exchange.first_delta_at


def keep_error(job: Job, error: UpstreamError) -> None:
    """Put the error into the job's columns."""
    job.error_category, job.error_code = error.category.value, word(error.code)
    job.error_status, job.error_message = error.status, repair(error.message)


def record_of(run: Run, error: UpstreamError | None) -> Attempt | None:
    """The attempt's row; None where no request was sent."""
    exchange = run.exchange
    if exchange is None or exchange.started_at is None:
        return None
    transcript = exchange.transcript
    return Attempt(
        job_id=run.job.id,
        number=run.job.attempt,
        upstream=exchange.request.upstream.name,
        model=word(transcript.model),
        upstream_request_id=word(exchange.request_id),
        started_at=exchange.started_at,
        first_delta_at=exchange.first_delta_at,
        finished_at=datetime.now(UTC),
        parts=transcript.parts(),
        length=transcript.length,
        finish_reason=word(transcript.finish_reason),
        usage=transcript.usage,
        error_category=error.category.value if error else None,
        error_code=word(error.code) if error else None,
        error_status=error.status if error else None,
        error_message=repair(error.message) if error else None,
    )


def drained_record_of(run: Run) -> Attempt | None:
    """The row of an attempt that was broken off because its process ends."""
    record = record_of(run, None)
    if record is not None:
        record.error_code = "drained"
    return record


def retrying(
    run: Run,
    error: UpstreamError | None,
    wait_s: float,
    due: datetime | None = None,
    reason: str = "deferred",
) -> Retrying:
    """The event that ends the attempt but not the job; `reason` where there was no error."""
    length = run.exchange.transcript.length if run.exchange else 0
    return Retrying(
        id=f"{run.job.attempt}-{length + 1}",
        job=run.job.id,
        reason="error" if error else reason,
        code=error.code if error else None,
        category=error.category.value if error else None,
        wait_s=round(wait_s, 3),
        scheduled_at=due,
    )


def word(text: str | None) -> str | None:
    """An upstream's word as a column holds it."""
    return None if text is None else repair(text)[:WORD]
