"""What is said of a job when it has ended, and of its attempts, in words."""

from collections.abc import Sequence

from models import Attempt, Job, JobState
from worker.channel.events import Retrying
from worker.errors import Category
from worker.usage import OUTPUT, count


def end_line(job: Job, attempts: Sequence[Attempt]) -> str:
    """One line on a job that has ended. Durations come from its row, so all readers agree."""
    said = [_ending(job), job.model, *_output(job), *_pace(job, attempts), job.id]
    return " · ".join(said)


def why(category: str | None, code: str | None, status: int | None = None) -> str:
    """An error in a word or three: `rate_limit/rate_limit_exceeded (HTTP 429)`."""
    name = "/".join(dict.fromkeys(word for word in (category, code) if word))
    return f"{name} (HTTP {status})" if status is not None and status != 200 else name


def stopped(event: Retrying) -> str:
    """Why an attempt is over though its job is not, and when the next one begins."""
    if event.reason == "lost":
        return "the attempt was lost with its worker; another worker takes the job"
    reason = why(event.category, event.code) or event.reason
    return f"attempt {event.cursor.attempt} stopped: {reason}; {_again(event)}"


def tokens(usage: dict[str, object] | None) -> int | None:
    """How many tokens the output has, where the upstream told."""
    return count(usage, *OUTPUT)


def pace(job: Job, attempt: Attempt) -> float | None:
    """Output tokens a second between the first delta and the end; None where it is not known."""
    count = tokens(attempt.usage or job.usage)
    if count is None or attempt.first_delta_at is None:
        return None
    took_s = (attempt.finished_at - attempt.first_delta_at).total_seconds()
    return count / took_s if took_s > 0 else None


def first_token_s(attempt: Attempt) -> float | None:
    """Seconds from the request to the first character; None where there was none."""
    if attempt.first_delta_at is None:
        return None
    return (attempt.first_delta_at - attempt.started_at).total_seconds()


def _ending(job: Job) -> str:
    if job.state == JobState.FAILED:
        cause = why(job.error_category, job.error_code, job.error_status)
        message = job.error_message or ("its time is over" if _overdue(job) else "")
        return f"failed: {cause}{': ' if message else ''}{message}"
    if job.state == JobState.INCOMPLETE:
        return f"incomplete: {job.finish_reason}"
    return f"{job.state} (its end is unverified)" if job.unverified else job.state


def _overdue(job: Job) -> bool:
    return job.error_category == Category.DEADLINE


def _output(job: Job) -> list[str]:
    count = tokens(job.usage)
    if count is not None:
        return [f"{count:,} token{'' if count == 1 else 's'}"]
    return [f"{job.length:,} characters"] if job.length else []


def _pace(job: Job, attempts: Sequence[Attempt]) -> list[str]:
    said = []
    if job.finished_at is not None:
        said.append(f"{(job.finished_at - job.created_at).total_seconds():.2f} s")
    if attempts and attempts[-1].number == job.attempt:
        rate, first_s = pace(job, attempts[-1]), first_token_s(attempts[-1])
        said += [] if rate is None else [f"{rate:.1f} tokens/s"]
        said += [] if first_s is None else [f"first token {first_s:.2f} s"]
    return said


def _again(event: Retrying) -> str:
    if event.scheduled_at is not None:
        return f"again at {event.scheduled_at.astimezone():%H:%M:%S}"
    return "again soon" if event.wait_s is None else f"again in {event.wait_s:.1f} s"
